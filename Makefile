# SPDX-License-Identifier: BSD-2-Clause
#
# treekvd. "make help" lists the targets; V=1 shows the commands; O=DIR builds
# elsewhere; SAN=address,undefined or SAN=thread builds with sanitizers, COVERAGE=1
# with counters.

O ?= build
prefix ?= /usr/local
bindir ?= $(prefix)/bin
libdir ?= $(prefix)/lib
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
sysconfdir ?= $(if $(filter /usr /usr/local,$(prefix)),/etc,$(prefix)/etc)
docdir ?= $(prefix)/share/doc/treekvd
datadir ?= $(prefix)/share/treekvd
unitdir ?= $(prefix)/lib/systemd/system
sysusersdir ?= $(prefix)/lib/sysusers.d
tmpfilesdir ?= $(prefix)/lib/tmpfiles.d
completionsdir ?= $(prefix)/share/bash-completion/completions
INSTALL ?= install
PROTOC_C ?= protoc-c
CLANG ?= clang
BPFTOOL ?= $(shell PATH="$$PATH:/usr/sbin:/sbin" command -v bpftool)
T ?= 60
EVAL ?= full

MAKEFLAGS += --no-print-directory --no-builtin-rules
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all

version := $(shell sed -n 's/^\#define TREEKV_VERSION[[:space:]]*"\(.*\)"/\1/p' \
	client/treekv.h)

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-7s %s\n'
endif

# ---- flags ----------------------------------------------------------------

warnings := -Wall -Wextra -Wshadow -Wundef -Wvla -Wwrite-strings \
	-Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wredundant-decls -Wnested-externs \
	-Wimplicit-fallthrough -Wformat=2
ifeq ($(WERROR),1)
warnings += -Werror
endif

hardening := -fstack-protector-strong -fstack-clash-protection
ifneq ($(filter x86_64%,$(shell $(CC) -dumpmachine 2>/dev/null)),)
hardening += -fcf-protection
endif

cppflags := -I. -I$(O)/gen -D_GNU_SOURCE= $(CPPFLAGS)
cflags := -std=gnu11 -g -fPIC -fno-strict-aliasing -fno-common $(warnings)
ldflags := -pie -Wl,-z,relro,-z,now $(LDFLAGS)

ifdef SAN
cflags += -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all \
	-fsanitize=$(SAN)
ldflags += -fsanitize=$(SAN)
ifneq ($(findstring thread,$(SAN)),)
cflags += -Wno-tsan
endif
else
cflags += -O2 $(hardening)
cppflags += -D_FORTIFY_SOURCE=2
daemon_cppflags := -DTREEKVD_JEMALLOC
daemon_libs := -ljemalloc
endif
ifdef FUZZER
cflags += -fsanitize=fuzzer-no-link -Wno-missing-field-initializers
endif
ifdef COVERAGE
cppflags += -DTREEKV_COVERAGE
ldflags += --coverage
counters := --coverage -fprofile-update=atomic -O0 -U_FORTIFY_SOURCE
endif
cflags += $(CFLAGS)

# ---- what can be built here ------------------------------------------------

# $(call has,HEADER)
has = $(shell echo '\#include <$(1)>' | \
	$(CC) $(CPPFLAGS) -E - >/dev/null 2>&1 && echo yes)

# What is missing is left out, and said. NO_BPF=1 leaves eBPF out anyhow.
bpf_arch := $(patsubst aarch64%,arm64,$(patsubst x86_64%,x86,\
	$(shell $(CC) -dumpmachine)))
bpf_missing := $(strip $(if $(NO_BPF),NO_BPF=0) \
	$(if $(shell command -v $(CLANG)),,clang) $(if $(BPFTOOL),,bpftool) \
	$(if $(call has,bpf/libbpf.h),,libbpf-dev))
left_out := $(if $(bpf_missing),"eBPF takes $(bpf_missing)") \
	$(if $(call has,sys/sdt.h),,"USDT probes take systemtap-sdt-dev")

# ---- what is built from what ----------------------------------------------

gen := $(O)/gen/treekv.pb-c.c $(O)/gen/sample.pb-c.c
proto_objs := $(patsubst %,$(O)/proto/%.o,histogram layout size) \
	$(O)/gen/treekv.pb-c.o
choice_objs := $(patsubst %,$(O)/daemon/%.o,policy survivors)
pure_objs := $(patsubst %,$(O)/daemon/%.o,order compact compact_prompt) \
	$(choice_objs)
queue_objs := $(O)/daemon/park_queue.o
daemon_objs := $(patsubst %.c,$(O)/%.o,$(filter-out daemon/main.c,\
	$(wildcard daemon/*.c))) $(proto_objs)
lib_objs := $(patsubst %,$(O)/client/%.o,cache conn dense error fork inbox \
	lease name open prefill probe reader writer) $(choice_objs) $(proto_objs)
local_objs := $(O)/client/local.o $(pure_objs)
ctl_objs := $(patsubst %,$(O)/client/%.o,budget ctl doctor events hugepages \
	json keep map owner persist quota replay replay_print replay_step \
	replay_trace show \
	show_json) $(lib_objs) $(pure_objs)
watch_objs := $(O)/bpf/watch_names.o $(patsubst %,$(O)/bpf/%.o,\
	$(if $(bpf_missing),watch_absent,watch watch_follow watch_read))
watch_libs := $(if $(bpf_missing),,-lbpf)
kernel_objs := $(patsubst %,$(O)/client/run/kernel-%.o,generic v3 v4)
run_objs := $(patsubst client/run/%.c,$(O)/client/run/%.o,\
	$(wildcard client/run/*.c)) $(O)/client/run/embedded.o \
	$(O)/client/budget.o \
	$(lib_objs) $(local_objs)
# Of treekv-top: what needs neither a terminal nor a daemon, and the rest.
view_objs := $(patsubst %,$(O)/bpf/%.o,canvas columns filter format history \
	layout rates record rows sample screen screen_detail screen_header \
	screen_help screen_table state top_json view) \
	$(O)/gen/sample.pb-c.o $(patsubst %,$(O)/client/%.o,json map show \
	show_json)
top_objs := $(patsubst %,$(O)/bpf/%.o,gather interactive options processes \
	seen source terminal top) $(view_objs) $(watch_objs) $(lib_objs)

programs := $(patsubst %,$(O)/bin/%,treekvd treekvctl treekv-run \
	treekv-top)
libraries := $(O)/lib/libtreekv.so.0 $(O)/lib/libtreekv.so
pages := $(patsubst %,$(O)/man/%,treekvd.8 treekvd.conf.5 treekvctl.1 \
	treekv-run.1 treekv-top.1 treekv.3 treekv-probes.7)
units := $(patsubst %,$(O)/systemd/%,treekvd.service treekvd.conf)

comma := ,
unit_tests := $(patsubst %,$(O)/tests/%,test_faults test_client_faults) \
	$(patsubst tests/unit/%.c,$(O)/tests/%,$(wildcard tests/unit/test_*.c))
unit_helpers := $(patsubst %.c,$(O)/%.o,$(filter-out tests/unit/test_%,\
	$(wildcard tests/unit/*.c)))
test_helpers := $(patsubst tests/helpers/%.c,$(O)/tests/helpers/%,\
	$(wildcard tests/helpers/*.c))
bench_programs := $(patsubst tests/bench/%.c,$(O)/tests/bench/%,\
	$(wildcard tests/bench/bench_*.c))
fuzz_targets := $(patsubst tests/fuzz/%.c,$(O)/tests/fuzz/%,\
	$(wildcard tests/fuzz/fuzz_*.c))
# All that a target may need but no main(), from which the linker takes its part.
fuzz_objs := $(daemon_objs) $(view_objs) $(lib_objs) $(local_objs) \
	$(filter-out $(O)/client/run/main.o,$(run_objs)) \
	$(patsubst %,$(O)/client/%.o,replay replay_print \
		replay_step replay_trace) \
	$(patsubst %.c,$(O)/%.o,$(filter-out tests/fuzz/fuzz_% \
		tests/fuzz/play.c,$(wildcard tests/fuzz/*.c))) \
	$(O)/tests/unit/plane.o $(O)/tests/unit/plane_clear.o
# libFuzzer has a main() of its own and makes inputs; else play.c plays them.
fuzz_main := $(if $(FUZZER),,$(O)/tests/fuzz/play.o)

built := $(programs) $(libraries) $(pages) $(units) $(O)/libtreekv.pc

all: $(built) ## build everything
	$(if $(strip $(left_out)),@printf '  LEFT OUT: %s\n' $(left_out))

# ---- compiling -------------------------------------------------------------

$(O)/%.o: %.c | $(gen)
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(cppflags) $(cflags) $(extra_cflags) $(counters_here) \
		-MMD -MP -c -o $@ $<

$(O)/%.o: %.S
	@mkdir -p $(@D)
	$(say) AS $<
	$(Q)$(CC) $(cppflags) -MMD -MP -c -o $@ $<

$(O)/client/run/embedded.o: $(wildcard client/run/*.bin)

$(O)/gen/%.o: $(O)/gen/%.c | $(gen)
	$(say) CC $<
	$(Q)$(CC) $(cppflags) $(cflags) -Wno-unused-parameter -MMD -MP -c \
		-o $@ $<

$(O)/gen/treekv.pb-c.c: proto/treekv.proto
	@mkdir -p $(@D)
	$(say) PROTOC $<
	$(Q)$(PROTOC_C) --proto_path=proto --c_out=$(O)/gen treekv.proto

$(O)/gen/sample.pb-c.c: bpf/sample.proto proto/treekv.proto
	@mkdir -p $(@D)
	$(say) PROTOC $<
	$(Q)$(PROTOC_C) --proto_path=proto --proto_path=bpf \
		--c_out=$(O)/gen sample.proto

$(O)/daemon/metrics.o: extra_cflags := $(daemon_cppflags)

# What is counted; the rest of such a build is as fast as ever.
$(O)/daemon/%.o $(O)/faults/daemon/%.o $(O)/proto/%.o: counters_here := \
	$(counters)

# The programs of the kernel: without debug information, but with BTF.
$(O)/bpf/treekv.bpf.o: bpf/treekv.bpf.c
	@mkdir -p $(@D)
	$(say) BPF $<
	$(Q)$(CLANG) -g -O2 -Wall $(if $(filter 1,$(WERROR)),-Werror) \
		-target bpf -D__TARGET_ARCH_$(bpf_arch) -I. \
		-I/usr/include/$(shell $(CC) -dumpmachine) -MMD -MP \
		-MT $@ -MF $(@:.o=.d) -c -o $@.debug $<
	$(Q)$(BPFTOOL) gen object $@ $@.debug

$(O)/gen/treekv.skel.h: $(O)/bpf/treekv.bpf.o
	@mkdir -p $(@D)
	$(Q)$(BPFTOOL) gen skeleton $< name treekv_bpf >$@

$(O)/bpf/watch.o $(O)/bpf/watch_follow.o $(O)/bpf/watch_read.o: \
	| $(O)/gen/treekv.skel.h

$(O)/bin/treekvd: $(O)/daemon/main.o $(daemon_objs)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) -o $@ $^ -luring -lprotobuf-c -lxxhash \
		-lseccomp $(daemon_libs) -pthread

$(O)/bin/treekvctl: $(ctl_objs)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) -o $@ $(sort $^) -lprotobuf-c -luring \
		-lm -pthread

$(O)/bin/treekv-run: $(run_objs)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) -o $@ $(sort $^) -lprotobuf-c \
		-lxxhash -lm -pthread

$(O)/bin/treekv-top: $(top_objs)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) -o $@ $(sort $^) -lncursesw -ltinfo \
		-lprotobuf-c -lzstd $(watch_libs) -lm -pthread

$(O)/lib/libtreekv.so.0: $(lib_objs) client/libtreekv.map
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(filter-out -pie,$(ldflags)) -shared \
		-Wl,-soname,libtreekv.so.0 \
		-Wl,--version-script=client/libtreekv.map -o $@ $(lib_objs) \
		-lprotobuf-c -pthread

$(O)/lib/libtreekv.so: $(O)/lib/libtreekv.so.0
	$(Q)ln -sf libtreekv.so.0 $@

# Always: prefix may be another one than last time.
$(O)/libtreekv.pc: client/libtreekv.pc.in FORCE
	@mkdir -p $(@D)
	$(Q)sed -e 's,@prefix@,$(prefix),' -e 's,@libdir@,$(libdir),' \
		-e 's,@includedir@,$(includedir),' \
		-e 's,@version@,$(version),' $< >$@

# With the option table, as the daemon prints it, for a line "@OPTIONS@".
$(O)/man/treekvd.8: print := --print-options-man
$(O)/man/treekvd.conf.5: print := --print-config-man
$(O)/man/treekvd%: daemon/treekvd%.in $(O)/bin/treekvd
	@mkdir -p $(@D)
	$(Q)$(O)/bin/treekvd $(print) >$@.options
	$(Q)sed -e '/@OPTIONS@/{r $@.options' -e 'd;}' $< >$@
	$(Q)rm $@.options

$(O)/man/treekv-top.1: bpf/treekv-top.1.in $(O)/bin/treekv-top
	@mkdir -p $(@D)
	$(Q)$(O)/bin/treekv-top --print-options-man >$@.options
	$(Q)$(O)/bin/treekv-top --print-columns-man >$@.columns
	$(Q)sed -e '/@OPTIONS@/{r $@.options' -e 'd;}' \
		-e '/@COLUMNS@/{r $@.columns' -e 'd;}' $< >$@
	$(Q)rm $@.options $@.columns

$(O)/systemd/treekvd.conf: $(O)/bin/treekvd
	@mkdir -p $(@D)
	$(Q)$(O)/bin/treekvd --print-config >$@

$(O)/systemd/treekvd.service: systemd/treekvd.service.in Makefile
	@mkdir -p $(@D)
	$(Q)sed -e 's,@bindir@,$(bindir),' $< >$@

# With what the probe table says of each provider for a line ".\" @PROVIDER@".
$(O)/man/treekv-probes.7: bpf/treekv-probes.7.in $(O)/gen/probes-man
	@mkdir -p $(@D)
	$(Q)for p in treekvd libtreekv; do \
		$(O)/gen/probes-man $$p >$@.$$p || exit; done
	$(Q)sed -e '/@treekvd@/{r $@.treekvd' -e 'd;}' \
		-e '/@libtreekv@/{r $@.libtreekv' -e 'd;}' $< >$@
	$(Q)rm $@.treekvd $@.libtreekv

$(O)/gen/probes-man: $(O)/bpf/probes_man.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) $(ldflags) -o $@ $<

$(O)/man/%: client/%
	@mkdir -p $(@D)
	$(Q)cp $< $@

# ---- tests -----------------------------------------------------------------

$(O)/tests/%: $(O)/tests/unit/%.o $(unit_helpers) $(daemon_objs) \
		$(view_objs) $(lib_objs) $(O)/client/budget.o \
		$(O)/client/local.o $(kernel_objs)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) -o $@ $(sort $^) -lcmocka -luring \
		-lprotobuf-c -lxxhash -lzstd -lseccomp $(daemon_libs) -lm \
		-pthread

$(O)/tests/helpers/%: $(O)/tests/helpers/%.o $(lib_objs) $(local_objs)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) -o $@ $(sort $^) -lprotobuf-c -lm \
		-pthread

$(O)/tests/helpers/kvwatch: $(O)/tests/helpers/kvwatch.o $(watch_objs) \
		$(O)/client/json.o $(proto_objs)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) -o $@ $^ $(watch_libs) -lprotobuf-c

# The same where eBPF could not be built.
$(O)/tests/helpers/kvwatch-absent: $(O)/tests/helpers/kvwatch.o \
		$(O)/bpf/watch_absent.o $(O)/bpf/watch_names.o \
		$(O)/client/json.o $(proto_objs)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) -o $@ $^ -lprotobuf-c

$(O)/tests/bench/%: $(O)/tests/bench/%.o $(lib_objs) $(local_objs) \
		$(queue_objs) $(kernel_objs)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) -o $@ $(sort $^) -lprotobuf-c -lm \
		-pthread

# What is to run under valgrind, which knows io_uring in part.
$(O)/tests/patience.so: $(O)/tests/patience.o
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(filter-out -pie,$(ldflags)) -shared -o $@ $< -luring

$(O)/tests/fuzz/all.a: $(fuzz_objs)
	$(Q)rm -f $@
	$(Q)ar qcs $@ $(sort $^)

$(O)/tests/fuzz/fuzz_%: $(O)/tests/fuzz/fuzz_%.o $(fuzz_main) \
		$(O)/tests/fuzz/all.a
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) $(if $(FUZZER),-fsanitize=fuzzer) \
		-o $@ $^ -luring -lprotobuf-c -lxxhash -lzstd -lseccomp \
		$(daemon_libs) -lm -pthread

fuzz-targets: $(fuzz_targets)

# With calls that fail when told to: those that these files have a WRAP() or a
# __wrap_X() for.
wraps = $(sort $(shell sed -nE \
	-e 's/^WRAP.[^,]*, [^,]*, ([a-z_0-9]*),.*/\1/p' \
	-e 's/.*\b__wrap_([a-z_0-9]+).*/\1/p' $(1)))
fault_ldflags = $(addprefix -Wl$(comma)--wrap=,\
	$(call wraps,$(filter %/fault.c %/rings.c,$(1))))
daemon_fault := $(patsubst %,tests/fault/%.c,fault operations rings test_faults)
client_fault := $(patsubst %,tests/fault/%.c,client_operations fault served \
	test_client_faults)

$(O)/tests/test_faults: $(patsubst %.c,$(O)/%.o,$(daemon_fault)) \
		$(O)/tests/unit/plane.o $(O)/tests/unit/plane_clear.o \
		$(daemon_objs)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) $(call fault_ldflags,$(daemon_fault)) \
		-o $@ $(sort $^) -lcmocka -luring -lprotobuf-c -lxxhash \
		-lseccomp $(daemon_libs) -lm -pthread

# It runs the daemon that lies beside it.
$(O)/tests/test_client_faults: $(patsubst %.c,$(O)/%.o,$(client_fault)) \
		$(lib_objs) | $(O)/bin/treekvd
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) $(call fault_ldflags,$(client_fault)) \
		-o $@ $(sort $^) -lcmocka -lprotobuf-c -lm -pthread

.SECONDARY:

# The daemon again, with the points of daemon/crash.h.
fault_objs := $(patsubst %.c,$(O)/faults/%.o,$(wildcard daemon/*.c))

$(O)/faults/%.o: %.c | $(gen)
	@mkdir -p $(@D)
	$(say) CC "$< (faults)"
	$(Q)$(CC) $(cppflags) $(cflags) -DTREEKV_FAULTS $(counters_here) -MMD \
		-MP -c -o $@ $<

$(O)/tests/helpers/treekvd-faults: $(fault_objs) $(proto_objs)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(cflags) $(ldflags) -o $@ $(sort $^) -luring \
		-lprotobuf-c -lxxhash -lseccomp -pthread

tests: all $(unit_tests) $(test_helpers) $(O)/tests/helpers/treekvd-faults \
		$(O)/tests/helpers/kvwatch-absent $(fuzz_targets)

demo: deps ## the main job on real input, in under two minutes
	$(Q)$(MAKE) all
	$(Q)python3 -B tests/demo/demo.py $(O)

check: deps-check ## build and run all tests
	$(Q)$(MAKE) tests
	$(Q)sh tests/run.sh $(O)

check-asan: deps-check ## all tests under AddressSanitizer and UBSan
	$(Q)$(MAKE) tests O=$(O)-asan SAN=address,undefined
	$(Q)LIMIT=1200 sh tests/run.sh $(O)-asan

check-tsan: deps-check ## all tests under ThreadSanitizer
	$(Q)$(MAKE) tests O=$(O)-tsan SAN=thread
	$(Q)LIMIT=1200 sh tests/run.sh $(O)-tsan

check-valgrind: deps-valgrind ## the unit tests under memcheck
	$(Q)$(MAKE) tests $(O)/tests/patience.so
	$(Q)sh tests/valgrind.sh $(O)

coverage: deps-coverage ## lines of proto/ and daemon/ the tests reach: 90 %
	$(Q)$(MAKE) tests O=$(O)-coverage COVERAGE=1
	$(Q)sh tests/coverage.sh $(O)-coverage

analyze: deps-lint ## static analysis: cppcheck, clang-tidy
	$(Q)$(MAKE) $(gen)
	$(Q)sh tests/analyze.sh $(O)

check-aarch64: deps-aarch64 ## the unit tests for aarch64, by qemu-user
	$(Q)sh tests/aarch64.sh $(O)-aarch64

check-systemd: deps-systemd ## the packages under a real systemd, in a container
	$(Q)$(MAKE) all $(test_helpers)
	$(Q)sh tests/systemd/check.sh $(O)

torture: deps-check ## T=600 seconds of killing everything, SEED=1
	$(Q)$(MAKE) tests
	$(Q)python3 -B tests/torture/torture.py $(O) $(T)

soak: deps-check ## T=600 seconds of load with SAN=address or thread, SEED=1
	$(Q)$(MAKE) tests
	$(Q)python3 -B tests/torture/soak.py $(O) $(T)

bench-programs: all $(bench_programs) \
	$(patsubst %,$(O)/tests/helpers/%,kvwriter kvwatch kvmany)

bench: deps-bench ## measure; JSON, a table, plots in $(O)/bench; ROWS="step ..."
	$(Q)$(MAKE) bench-programs
	$(Q)python3 -B tests/bench/bench.py $(O) $(ROWS)

bench-compare: deps-bench ## BASE=rev: has it become faster? ROWS="step ..."
	$(Q)$(MAKE) bench-programs
	$(Q)python3 -B tests/bench/compare.py $(O) $(or $(BASE),HEAD) \
		$(or $(ROUNDS),0) $(ROWS)

eval: deps-eval ## how good the policies are; TEXT="FILE...", EVAL=quick
	$(Q)$(MAKE) all
	$(Q)python3 -B tests/eval/eval.py $(O) --scale $(EVAL) \
		$(if $(TEXT),--text $(TEXT)) $(if $(TITLE),--title "$(TITLE)") \
		$(if $(PART),--part $(PART))

fuzz: deps-fuzz ## T=60 seconds of every fuzz target; ONLY="TARGET..."
	$(Q)$(MAKE) fuzz-targets O=$(O)-fuzz CC=$(CLANG) FUZZER=1 \
		SAN=address,undefined
	$(Q)sh tests/fuzz/run.sh $(O)-fuzz $(T) $(ONLY)

screenshots: deps-check ## pictures of treekv-top at work, for README.md
	$(Q)$(MAKE) all
	$(Q)python3 -B tests/demo/screenshot.py $(O) bpf

format: deps-lint ## lay out all sources
	$(Q)git ls-files '*.c' '*.h' | xargs clang-format -i

# ---- what it needs ---------------------------------------------------------

deps: ## install what the build and the demo need (Debian packages)
	$(Q)sh tests/deps.sh build demo

deps-check:
	$(Q)sh tests/deps.sh build demo check
	$(Q)sh tests/prometheus.sh $(O)

deps-coverage deps-valgrind: deps-%: deps-check
	$(Q)sh tests/deps.sh $*

deps-aarch64 deps-bench deps-eval deps-fuzz deps-lint:
	$(Q)sh tests/deps.sh build demo $(@:deps-%=%)

deps-deb:
	$(Q)sh tests/deps.sh build deb

deps-systemd:
	$(Q)sh tests/deps.sh build deb systemd

# ---- installing ------------------------------------------------------------

# What is installed, as "mode source destination"; directories are made.
installed := $(foreach p,$(programs),755 $(p) $(bindir)/$(notdir $(p))) \
	755 $(O)/lib/libtreekv.so.0 $(libdir)/libtreekv.so.0 \
	644 client/treekv.h $(includedir)/treekv.h \
	644 $(O)/libtreekv.pc $(libdir)/pkgconfig/libtreekv.pc \
	$(foreach p,$(pages),644 $(p) \
		$(mandir)/man$(subst .,,$(suffix $(p)))/$(notdir $(p))) \
	644 $(O)/systemd/treekvd.service $(unitdir)/treekvd.service \
	644 systemd/treekvd.socket $(unitdir)/treekvd.socket \
	644 systemd/treekvd.sysusers $(sysusersdir)/treekvd.conf \
	644 systemd/treekvd.tmpfiles $(tmpfilesdir)/treekvd.conf \
	644 systemd/treekvd-hugepages.conf \
		$(docdir)/examples/treekvd-hugepages.conf \
	644 systemd/treekvd-metrics.socket $(unitdir)/treekvd-metrics.socket \
	644 systemd/treekvd-metrics.service \
		$(unitdir)/treekvd-metrics.service \
	644 systemd/treekvd.rules.yml $(datadir)/treekvd.rules.yml \
	644 systemd/treekvd-dashboard.json $(datadir)/treekvd-dashboard.json \
	$(foreach p,$(programs),644 systemd/treekv.bash-completion \
		$(completionsdir)/$(notdir $(p)))
conf := $(DESTDIR)$(sysconfdir)/treekvd/treekvd.conf
live := $(if $(DESTDIR),,1)

install: all ## install under DESTDIR and prefix; without DESTDIR set it up, too
	$(Q)set -- $(installed); while [ $$# -gt 0 ]; do \
		$(INSTALL) -D -m $$1 "$$2" "$(DESTDIR)$$3" || exit; \
		echo "  INSTALL $(DESTDIR)$$3"; shift 3; done
	$(Q)ln -sf libtreekv.so.0 $(DESTDIR)$(libdir)/libtreekv.so
	$(Q)if [ -e "$(conf)" ]; then echo "  KEPT    $(conf)"; else \
		$(INSTALL) -D -m 644 $(O)/systemd/treekvd.conf "$(conf)"; fi
	$(Q)$(if $(live),sh systemd/apply.sh "$(sysusersdir)/treekvd.conf" \
		"$(tmpfilesdir)/treekvd.conf")

uninstall: ## take it away again; an edited treekvd.conf stays
	$(Q)set -- $(installed); while [ $$# -gt 0 ]; do \
		rm -f "$(DESTDIR)$$3"; shift 3; done
	$(Q)rm -f $(DESTDIR)$(libdir)/libtreekv.so
	$(Q)rmdir $(DESTDIR)$(docdir)/examples $(DESTDIR)$(docdir) \
		$(DESTDIR)$(datadir) || :
	$(Q)if cmp -s $(O)/systemd/treekvd.conf "$(conf)"; then \
		rm -f "$(conf)"; rmdir "$(dir $(conf))"; fi
	$(Q)$(if $(live),sh systemd/apply.sh)

deb: deps-deb ## Debian packages, in $(O)/deb
	$(Q)sh systemd/deb.sh $(O)

clean: ## remove what was built
	rm -rf $(O) $(O)-asan $(O)-tsan $(O)-fuzz $(O)-coverage

help: ## this list
	@printf 'Targets (V=1 shows commands, O=DIR builds elsewhere):\n'
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | \
		expand -t 16

FORCE:

.PHONY: FORCE all tests fuzz-targets demo check check-asan check-tsan \
	check-valgrind coverage deps-coverage deps-valgrind bench \
	bench-compare bench-programs eval fuzz format \
	screenshots deps deps-check deps-bench deps-eval deps-fuzz deps-lint \
	deps-aarch64 deps-deb deps-systemd \
	check-aarch64 analyze check-systemd torture soak \
	deb install uninstall clean help

-include $(shell find $(O) -name systemd-root -prune -o -name deb -prune -o \
	-name '*.d' -type f -print 2>/dev/null)
