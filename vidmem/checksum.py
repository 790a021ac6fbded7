"""CRC-32 of what lies on disk."""

try:
    from isal.isal_zlib import crc32
except ImportError:  # it has no build for this platform
    from zlib import crc32  # the same numbers, at a sixth of the speed

__all__ = ["crc32"]
