/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Holt-Winters recursion in plain C: the reference of the vector builds, and what other processors run. */
#include "forecast/hw.h"

#define HW_NAME   spr__hw_plain
#define HW_FOLLOW spr__hw_follow_plain
#define HW_SLOPES spr__hw_slopes_plain
#define HW_W      1
typedef double V;
typedef bool MASK;
#define LOAD(p)       (*(p))
#define STORE(p, v)   (*(p) = (v))
#define ALL(x)        (x)
#define ADD(a, b)     ((a) + (b))
#define SUB(a, b)     ((a) - (b))
#define MUL(a, b)     ((a) * (b))
#define DIV(a, b)     ((a) / (b))
#define VALID(x)      ((x) == (x))
#define PICK(m, a, b) ((m) ? (a) : (b))
#define BOTH(m, n)    ((m) && (n))
#define EITHER(m, n)  ((m) || (n))
#define WITHOUT(m, n) ((m) && !(n))
#define AT_MOST(a, b) ((a) <= (b))
#define ABOVE(a, b)   ((a) > (b))
#include "forecast/hw_kernel.h"
