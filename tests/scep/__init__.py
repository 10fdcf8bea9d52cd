"""Tests of enrolment over SCEP."""
