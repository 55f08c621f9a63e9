// To be included first by sources that are all products and sums: these may be contracted in them,
// which makes them twice as fast. Elsewhere products are rounded before they are added. GCC has
// this per function instead (fp-contract=fast), as it does not carry the setting into what is
// inlined.
#pragma once

#if defined(__clang__)
#pragma clang fp contract(fast)
#endif
