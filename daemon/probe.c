// SPDX-License-Identifier: BSD-2-Clause
/* The daemon's probes: the one place of this program where each can fire. */
#include "proto/probe_define.h"

PROBES_TREEKVD(PROBE_DEFINE)
