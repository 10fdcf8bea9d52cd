"""What a token's return values mean to us (PKCS #11 v2.40 base specification, section 5.1).

Three kinds: a refusal, which trying again does not change; a fault of the data that was to be decrypted; and everything else,
known or not, after which the session or the whole library is opened anew.
"""

import re
from typing import Final

import pkcs11

_REFUSALS: Final = (
    pkcs11.ArgumentsBad,
    pkcs11.AttributeReadOnly,
    pkcs11.AttributeSensitive,
    pkcs11.AttributeTypeInvalid,
    pkcs11.AttributeValueInvalid,
    pkcs11.DataInvalid,
    pkcs11.DataLenRange,
    pkcs11.DomainParamsInvalid,
    pkcs11.FunctionNotSupported,
    pkcs11.FunctionRejected,
    pkcs11.KeySizeRange,
    pkcs11.KeyTypeInconsistent,
    pkcs11.KeyUnextractable,
    pkcs11.MechanismInvalid,
    pkcs11.MechanismParamInvalid,
    pkcs11.PublicKeyInvalid,
    pkcs11.SessionReadOnly,
    pkcs11.TemplateIncomplete,
    pkcs11.TemplateInconsistent,
    pkcs11.TokenWriteProtected,
)
# SoftHSM 2.6 says CKR_GENERAL_ERROR of a padding that is wrong, others CKR_FUNCTION_FAILED (facts/ca.md section 5).
_OF_THE_DATA: Final = (
    pkcs11.DataInvalid,
    pkcs11.DataLenRange,
    pkcs11.EncryptedDataInvalid,
    pkcs11.EncryptedDataLenRange,
    pkcs11.FunctionFailed,
    pkcs11.GeneralError,
)
# python-pkcs11 has no class for CKR_KEY_FUNCTION_NOT_PERMITTED, nor for what vendors define.
_UNMAPPED: Final = "Unmapped error code "
_KEY_FUNCTION_NOT_PERMITTED: Final = f"{_UNMAPPED}0x68"


def is_refusal(error: pkcs11.PKCS11Error) -> bool:
    """Say whether the token would answer the same again."""
    return isinstance(error, _REFUSALS) or str(error) == _KEY_FUNCTION_NOT_PERMITTED


def is_of_the_data(error: pkcs11.PKCS11Error) -> bool:
    """Say whether a token may mean the ciphertext, where it takes the padding off itself.

    Some of these may also mean that the token is failing. That does no harm: the answer has to be signed by it, too, and there
    the same return value means only that.
    """
    return isinstance(error, _OF_THE_DATA) or (str(error).startswith(_UNMAPPED) and not is_refusal(error))


def describe(error: pkcs11.PKCS11Error) -> str:
    """Return the return value as the standard calls it, or what the library says where it gives none."""
    if str(error) or type(error) is pkcs11.PKCS11Error:
        return str(error)
    return "CKR_" + re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=ID)(?=[A-Z])", "_", type(error).__name__).upper()
