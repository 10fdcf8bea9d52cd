"""The floor: how many enrolments a second the machine's processors allow if nothing but RSA had to be done.

An enrolment takes three RSA private operations: the RA opens the envelope, the CA signs the certificate, the RA signs the reply.
"""

import multiprocessing
import os
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa


def _work(ca_bits: int, seconds: float, results: "multiprocessing.Queue[float]") -> None:
    ra = rsa.generate_private_key(65537, 2048)
    ca = rsa.generate_private_key(65537, ca_bits)
    sealed = ra.public_key().encrypt(b"0" * 16, padding.PKCS1v15())
    done = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        ra.decrypt(sealed, padding.PKCS1v15())
        ca.sign(b"certificate", padding.PKCS1v15(), hashes.SHA256())
        ra.sign(b"reply", padding.PKCS1v15(), hashes.SHA256())
        done += 1
    results.put(done / (time.perf_counter() - began))


def rate(ca_bits: int, seconds: float = 3.0) -> float:
    """Return the RSA rounds a second of all processors together, with an issuing CA of ``ca_bits``."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[float] = context.Queue()
    workers = [context.Process(target=_work, args=(ca_bits, seconds, results)) for _ in range(len(os.sched_getaffinity(0)))]
    for worker in workers:
        worker.start()
    total = sum(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    return total
