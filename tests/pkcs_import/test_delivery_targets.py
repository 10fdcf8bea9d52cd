"""Which encoding an importer gets."""

import pytest

from pkcs_import.delivery import Method
from pkcs_import.delivery_targets import Target, encoding_for, takes_one_at_a_time, usual_target
from pkcs_import.packing import Encoding


@pytest.mark.parametrize(
    ("platform", "target"),
    [
        ("ios", Target.APPLE),
        ("ipados", Target.APPLE),
        ("iphone os 18", Target.APPLE),
        ("macos", Target.APPLE),
        ("mac os x", Target.APPLE),
        ("android", Target.ANDROID),
        ("androidforwork", Target.ANDROID),
        ("windows 11", Target.WINDOWS),
        ("linux", Target.OTHER),
        ("", Target.OTHER),
    ],
)
def test_the_devices_platform_says_what_opens_a_file_on_it(platform: str, target: Target) -> None:
    assert usual_target(Method.LINK, platform) is target
    assert usual_target(Method.FILE, platform) is target
    assert usual_target(Method.MAIL, platform) is Target.OUTLOOK
    assert usual_target(Method.INTUNE, platform) is Target.OUTLOOK
    assert usual_target(Method.PROFILE, platform) is Target.APPLE


def test_apples_gpgsms_and_outlooks_importers_get_3des_and_a_file_for_each_key() -> None:
    old = {Target.APPLE, Target.GPGSM, Target.OUTLOOK}
    assert {target for target in Target if encoding_for(target) is Encoding.LEGACY} == old
    assert {target for target in Target if takes_one_at_a_time(target)} == old
