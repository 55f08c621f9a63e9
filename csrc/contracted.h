// To be included first by sources that are all products and sums: these may be contracted in them,
// which makes them twice as fast. Elsewhere products are rounded before they are added. For GCC it
// is said around functions instead (fp-contract=fast): what is inlined takes the setting of the
// function that it becomes part of, with clang that of the place where it is written.
#pragma once

#if defined(__clang__)
#pragma clang fp contract(fast)
#endif
