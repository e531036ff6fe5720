"""Byte strings that are not UTF-8 as MQTT wants it. MQTT 5.0 §1.5.4."""

ILL_FORMED = {
    "null": b"\x00",
    "continuation-alone": b"\x80",
    "cut-off-2": b"\xc3",
    "cut-off-3": b"\xe2\x82",
    "cut-off-4": b"\xf0\x9f\xa6",
    "overlong-2": b"\xc0\x80",
    "overlong-slash": b"\xc1\xbf",
    "overlong-3": b"\xe0\x80\xaf",
    "overlong-4": b"\xf0\x80\x80\xaf",
    "surrogate-low": b"\xed\xa0\x80",
    "surrogate-high": b"\xed\xbf\xbf",
    "surrogate-pair": b"\xed\xa0\x80\xed\xb0\x80",
    "above-10ffff": b"\xf4\x90\x80\x80",
    "five-bytes": b"\xf8\x88\x80\x80\x80",
    "fe": b"\xfe",
    "ff": b"\xff",
}
