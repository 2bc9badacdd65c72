// SPDX-License-Identifier: BSD-2-Clause
/* The library's probes: the one place of a program where each can fire. */
#include "proto/probe_define.h"

PROBES_LIBTREEKV(PROBE_DEFINE)
