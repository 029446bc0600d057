"""Whether two processors will decide differently on one int8 file."""

from kit.records import VariantRecord


def host_and_device_differ(record: VariantRecord, *, host_saturates: bool, device_saturates: bool) -> str:
    """Why this host and the device may decide differently on a variant; empty where they decide alike.

    Args:
        record: the variant; its bound on pair sums is a proof, so without risk there is no difference of this kind.
        host_saturates: this host adds pairs of int8 products in 16 bits (x86 without VNNI).
        device_saturates: the device does.
    """
    bound = record.saturation
    if not bound.can_saturate or host_saturates == device_saturates:
        return ""
    one, other = ("this host", "the device") if host_saturates else ("the device", "this host")
    products = f"{len(bound.nodes_at_risk)} of its {bound.quantized_nodes} int8 products can"
    return (
        f"sums saturate on {one} (x86 without VNNI) and not on {other}: {products}, with pair sums up to "
        f"{bound.worst_pair:,} where {bound.limit:,} is the limit; what one decides, the other may not"
    )
