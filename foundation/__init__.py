"""What every room stands on and no RFC names: error categories, clock, table conventions, bounded TLV reader."""
