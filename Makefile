# SPDX-License-Identifier: GPL-2.0
#
# exchrange: `make help` tells what there is to make.

# The first entry of debian/changelog has it; DKMS's copy of the source is told.
VERSION := $(shell sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog 2>/dev/null)

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR    ?= $(PREFIX)/share
MANDIR     ?= $(DATADIR)/man
ZSHDIR     ?= $(DATADIR)/zsh/site-functions
DESTDIR    ?=

KERNEL_RELEASE ?= $(shell uname -r)
KDIR           ?= /lib/modules/$(KERNEL_RELEASE)/build

# Everything but the module, whose place kbuild chooses, is built here.
BUILD := build

# depmod and ldconfig are not in the PATH of every root.
export PATH := $(PATH):/usr/sbin:/sbin

# For kbuild, which works in another folder; nothing stays nothing.
stage := $(if $(DESTDIR),$(abspath $(DESTDIR)))

CC      ?= cc
CFLAGS  ?= -O2 -g
INSTALL ?= install
override CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DEXCHRANGE_VERSION='"$(VERSION)"' -Iuapi -Itools/lib
override CFLAGS   += -std=gnu11 -Wall -Wextra -Wno-missing-field-initializers \
		     -Wmissing-prototypes -Wstrict-prototypes -Wvla -fPIC -MMD -MP
ifdef WERROR
override CFLAGS   += -Werror
endif

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s%s\n'
endif

# What this machine can build.  The name of the Debian package that is missing,
# or nothing.
missing_headers := $(if $(wildcard $(KDIR)/Makefile),,linux-headers-$(KERNEL_RELEASE))

sqlite_header  := $(wildcard $(addsuffix /sqlite3ext.h,/usr/include /usr/local/include))
sqlite_library := $(if $(sqlite_header),-lsqlite3)

.PHONY: all
all: $(if $(missing_headers),skip-module,modules) tools

.PHONY: skip-module
skip-module:
	@echo "The module is left out: there are no headers for kernel $(KERNEL_RELEASE). To build it:" >&2
	@echo "    apt-get install $(missing_headers)" >&2

# --- the module ---------------------------------------------------------------

# Of each kernel its own private types.
private_types = $(BUILD)/private/$(KERNEL_RELEASE)

kbuild = $(MAKE) -C $(KDIR) M=$(CURDIR) EXCHRANGE_VERSION=$(VERSION) \
	PRIVATE_TYPES=$(CURDIR)/$(private_types) \
	$(if $(filter 1,$(V)),,-s) --no-print-directory \
	$(if $(WERROR),KCFLAGS=-Werror)

# TRIAL: where scripts/dkms_check has just built it for DKMS, which may ask for another compiler.
trial := $(if $(filter command,$(origin CC) $(origin LD) $(origin LLVM)),,$(and $(TRIAL),$(wildcard $(TRIAL)/exchrange.ko)))

.PHONY: modules
modules:
ifneq ($(missing_headers),)
	@echo "There are no headers for kernel $(KERNEL_RELEASE): apt-get install $(missing_headers)" >&2
	@false
else ifneq ($(trial),)
	@cat $(TRIAL)/log && mv $(trial) . && rm -rf $(TRIAL)
else
	$(say) TYPES "xfs btrfs overlay"
	$(Q)for module in xfs btrfs overlay; do \
		UNTESTED=$(UNTESTED) scripts/private_types $$module $(KDIR) $(KERNEL_RELEASE) \
			module/$$module/private.list $(private_types)/$${module}_types.h || true; \
	done
	$(say) KBUILD exchrange.ko
	+$(Q)$(kbuild) modules
endif

# --- the libraries and the command ----------------------------------------------

SONAME := libexchange.so.0
LIBRARY := $(BUILD)/libexchange.so.$(VERSION)
STATIC  := $(BUILD)/libexchange.a
PC      := $(BUILD)/libexchange.pc
PRELOAD := $(BUILD)/libexchange-preload.so
COMMAND := $(BUILD)/exchrange

command_sources := $(wildcard tools/exchrange/*.c)
command_objects := $(command_sources:%.c=$(BUILD)/%.o)
library_objects := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/lib/*.c))

.PHONY: tools library
tools: library $(PRELOAD) $(COMMAND) $(if $(sqlite_header),sqlite,skip-sqlite)
library: $(LIBRARY) $(STATIC) $(PC)

# --- the VFS for SQLite ---------------------------------------------------------

# Nothing of SQLite is linked: a program that loads an extension hands its functions on.
EXTENSION := $(BUILD)/exchrange_vfs.so
sqlite_objects := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/sqlite/*.c))

.PHONY: sqlite skip-sqlite
sqlite: $(EXTENSION)

skip-sqlite:
	@echo "The VFS for SQLite is left out: there is no sqlite3ext.h. To build it:" >&2
	@echo "    apt-get install libsqlite3-dev" >&2

$(sqlite_objects): override CFLAGS += -fvisibility=hidden

$(EXTENSION): $(sqlite_objects) $(STATIC)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,--exclude-libs,ALL -o $@ $^ -lpthread
	$(Q)ln -sf $(@F) $(BUILD)/exchrange_vfs_default.so

# Asked for only by what compiles: make help and make demo need none.
.PHONY: compiler
compiler:
	@command -v $(CC) >/dev/null || { echo "There is no C compiler ($(CC)): apt-get install gcc" >&2; exit 1; }

$(BUILD)/%.o: %.c Makefile | compiler
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(LIBRARY): $(library_objects) tools/lib/libexchange.map
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) \
		-Wl,--version-script=tools/lib/libexchange.map -o $@ $(library_objects)
	$(Q)ln -sf $(@F) $(BUILD)/$(SONAME)
	$(Q)ln -sf $(SONAME) $(BUILD)/libexchange.so

$(STATIC): $(library_objects)
	$(say) AR $@
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# Made anew each time: PREFIX may be another one.
.PHONY: $(PC)
$(PC): tools/lib/libexchange.pc.in
	@mkdir -p $(@D)
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
		-e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' $< >$@

# Of no version: nothing is linked with it.
$(PRELOAD): $(BUILD)/tools/preload/preload.o tools/preload/preload.map
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(@F) \
		-Wl,--version-script=tools/preload/preload.map -o $@ $< -ldl

# The static library: the command also runs where no library is installed.
$(COMMAND): $(command_objects) $(STATIC)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

# --- the tests ----------------------------------------------------------------

test_sources  := $(wildcard selftests/test_*.c)
test_programs := $(test_sources:selftests/%.c=$(BUILD)/selftests/%)
bench_programs := $(patsubst selftests/bench/%.c,$(BUILD)/selftests/bench/%,$(wildcard selftests/bench/*.c))
examples       := $(patsubst %.c,$(BUILD)/%,$(wildcard tools/lib/examples/*.c))
# Each of these folders is one program, of its name.
folders         := crash fuzz power_cut stress test_fio $(if $(sqlite_header),test_sqlite)
folder_programs := $(foreach folder,$(folders),$(BUILD)/selftests/$(folder)/$(folder))
demo_reader     := $(BUILD)/selftests/demo_reader
common_objects := $(patsubst %.c,$(BUILD)/%.o,$(wildcard selftests/common/*.c))

.PHONY: selftests
selftests: $(test_programs) $(bench_programs) $(folder_programs) $(examples) $(demo_reader)

$(BUILD)/selftests/%.o: override CPPFLAGS += -Iselftests/common

$(BUILD)/selftests/test_%: $(BUILD)/selftests/test_%.o $(common_objects) $(STATIC)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka -ljson-c -lpthread

$(BUILD)/selftests/bench/%: $(BUILD)/selftests/bench/%.o $(common_objects) $(STATIC)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka -lpthread $(if $(filter %/bench_database %/bench_transactions,$@),$(sqlite_library))

$(examples) $(demo_reader): %: %.o $(STATIC)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

define folder_program
$(BUILD)/selftests/$(1)/$(1): $(patsubst %.c,$(BUILD)/%.o,$(wildcard selftests/$(1)/*.c)) \
		$(common_objects) $(STATIC)
	$$(say) LD $$@
	$$(Q)$$(CC) $$(CFLAGS) $$(LDFLAGS) -o $$@ $$^ -lcmocka -lpthread $(if $(filter crash power_cut test_sqlite,$(1)),$(sqlite_library))
endef
$(foreach folder,$(folders),$(eval $(call folder_program,$(folder))))

.SECONDARY:

# What guests are made of; into the guest, never on a user's machine.
.PHONY: install-selftests
install-selftests: selftests
	$(Q)$(INSTALL) -d $(DESTDIR)/usr/libexec/exchrange
	$(Q)$(INSTALL) -m 755 selftests/guest/guest-init selftests/guest/run-tests \
		selftests/demo $(demo_reader) $(test_programs) $(bench_programs) \
		$(folder_programs) $(examples) \
		$(DESTDIR)/usr/libexec/exchrange
	$(Q)cp -r tools/vim $(DESTDIR)/usr/libexec/exchrange

.PHONY: demo check check-kernels check-crash check-debug check-stress check-fio bench bench-database lint deps
demo:
	@[ ! -t 1 ] || color=--color; \
		selftests/guest/run --timeout 600 -- /usr/libexec/exchrange/demo $$color

check:
	@selftests/check $(if $(KERNEL_TREE),--kernel-tree $(KERNEL_TREE))

check-kernels check-crash check-debug check-stress:
	@selftests/check $(@:check-%=%)

# fio's source is no package's: apt-get source fio.
check-fio:
	@[ -n "$(FIO_SOURCE)" ] || { \
		echo "Where is fio's source? apt-get source fio, then make check-fio FIO_SOURCE=DIR" >&2; exit 1; }
	@FIO_SOURCE=$(abspath $(FIO_SOURCE)) selftests/check fio

# The engine of fio; see Documentation/recipes/fio.md.
.PHONY: fio
fio:
	@$(MAKE) --no-print-directory -C tools/fio FIO_SOURCE=$(abspath $(FIO_SOURCE))

bench:
	@selftests/guest/run --icount --timeout 7200 --disk-size 8G -- \
		/usr/libexec/exchrange/run-tests \
		bench_ioctl /mnt/xfs -- bench_ioctl /mnt/btrfs -- \
		bench_extents /mnt/xfs /mnt/btrfs -- \
		bench_save /mnt/xfs /mnt/btrfs -- \
		bench_overlay /mnt/xfs -- bench_overlay /mnt/btrfs -- \
		bench_commit /mnt/xfs -- bench_commit /mnt/btrfs -- \
		bench_large /mnt/btrfs -- bench_watch /mnt/xfs /mnt/btrfs
	@selftests/guest/run --no-build --timeout 900 -- \
		/usr/libexec/exchrange/run-tests bench_busy /mnt/btrfs

# Into Documentation/benchmarks.
bench-database:
	@selftests/bench/database_figures

lint:
	@selftests/lint

deps:
	@selftests/guest/deps

# Each is drawn by the script beside it.
pictures := $(wildcard Documentation/pictures/*.svg)

.PHONY: pictures
pictures:
	$(Q)for picture in $(basename $(pictures)); do $$picture >$$picture.svg || exit; done

# --- installing ---------------------------------------------------------------

bash_completion := $(DATADIR)/bash-completion/completions/exchrange
zsh_completion  := $(ZSHDIR)/_exchrange

# The command's manuals go where the command goes.
command_manuals := $(wildcard tools/man/exchrange*.1)
manuals         := $(wildcard tools/man/*.[34]) tools/man/libexchange-preload.7
manuals         += $(if $(sqlite_header),tools/man/exchrange_vfs.7)
# Names that have their manual on the page of another one.
shared_manuals  := exchrange-start-commit.1 exchrange_commit.3 exchrange_update_begin_fd.3
shared_manuals  += exchrange_watch_close.3 exchrange_watch_read_retry.3 exchrange_watch_read_settle.3

manual_place = $(DESTDIR)$(MANDIR)/man$(patsubst .%,%,$(suffix $(1)))/$(1)

.PHONY: install install-module install-tools
install: $(if $(missing_headers),skip-module,install-module) install-tools

# No depmod below DESTDIR: its files are the system's, not a package's.
# Uncompressed, which needs no compressor; unsigned, since a distribution keeps
# its key to itself: the README says what Secure Boot asks for.
install-module: modules
	$(say) INSTALL exchrange.ko
	+$(Q)$(kbuild) CONFIG_MODULE_COMPRESS_XZ= CONFIG_MODULE_SIG_ALL= \
		DEPMOD=true INSTALL_MOD_STRIP=1 INSTALL_MOD_PATH=$(stage) modules_install
	$(Q)$(install_modules_load)
	$(Q)$(if $(DESTDIR),,depmod $(KERNEL_RELEASE))

install-tools: tools
	$(say) INSTALL $(DESTDIR)$(PREFIX)
	$(Q)$(INSTALL) -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)/linux \
		$(DESTDIR)$(BINDIR) $(foreach section,1 3 4 7,$(DESTDIR)$(MANDIR)/man$(section)) \
		$(dir $(DESTDIR)$(bash_completion) $(DESTDIR)$(zsh_completion))
	$(Q)$(INSTALL) -m 644 uapi/linux/exchrange.h $(DESTDIR)$(INCLUDEDIR)/linux
	$(Q)$(INSTALL) -m 644 tools/lib/exchrange.h $(DESTDIR)$(INCLUDEDIR)
	$(Q)$(INSTALL) -m 644 $(STATIC) $(DESTDIR)$(LIBDIR)
	$(Q)$(INSTALL) -m 755 $(LIBRARY) $(PRELOAD) $(DESTDIR)$(LIBDIR)
	$(Q)ln -sf $(notdir $(LIBRARY)) $(DESTDIR)$(LIBDIR)/$(SONAME)
	$(Q)ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libexchange.so
	$(Q)$(INSTALL) -m 644 $(PC) $(DESTDIR)$(LIBDIR)/pkgconfig
	$(Q)for manual in $(notdir $(manuals)); do \
		$(INSTALL) -m 644 tools/man/$$manual $(DESTDIR)$(MANDIR)/man$${manual##*.}; \
	done
	$(Q)ln -sf exchrange_start_commit.3 $(call manual_place,exchrange_commit.3)
	$(Q)ln -sf exchrange_update_begin.3 $(call manual_place,exchrange_update_begin_fd.3)
	$(Q)ln -sf exchrange_watch_open.3 $(call manual_place,exchrange_watch_close.3)
	$(Q)ln -sf exchrange_watch_read_begin.3 $(call manual_place,exchrange_watch_read_retry.3)
	$(Q)ln -sf exchrange_watch_read_begin.3 $(call manual_place,exchrange_watch_read_settle.3)
	$(Q)$(INSTALL) -m 755 $(COMMAND) $(DESTDIR)$(BINDIR)
	$(Q)$(INSTALL) -m 644 $(command_manuals) $(DESTDIR)$(MANDIR)/man1
	$(Q)ln -sf exchrange-commit.1 $(call manual_place,exchrange-start-commit.1)
	$(Q)$(INSTALL) -m 644 tools/completions/exchrange.bash $(DESTDIR)$(bash_completion)
	$(Q)$(INSTALL) -m 644 tools/completions/_exchrange $(DESTDIR)$(zsh_completion)
	$(Q)$(if $(sqlite_header),$(install_sqlite))
	$(Q)$(if $(DESTDIR),,ldconfig)

# Where SQLite's other extensions are, which it does not look for by itself.
sqlite_place   := $(LIBDIR)/sqlite3
install_sqlite  = $(INSTALL) -d $(DESTDIR)$(sqlite_place) && \
		  $(INSTALL) -m 644 $(EXTENSION) $(DESTDIR)$(sqlite_place) && \
		  ln -sf $(notdir $(EXTENSION)) $(DESTDIR)$(sqlite_place)/exchrange_vfs_default.so

# The module for all kernels with headers, now and later, and loaded at every boot.
dkms_source := /usr/src/exchrange-$(VERSION)
dkms_files   = Makefile Kbuild $(shell find module scripts uapi \
		-name '*.[ch]' -o -name '*.list' -o -path 'scripts/*')
modules_load := /usr/lib/modules-load.d/exchrange.conf
install_modules_load = $(INSTALL) -d $(dir $(DESTDIR)$(modules_load)) && \
		       echo exchrange >$(DESTDIR)$(modules_load)
# Not a package's.
dkms_remove  = if ! dpkg -S $(modules_load) >/dev/null 2>&1; then \
		for source in /usr/src/exchrange-*; do \
			[ -d "$$source" ] || continue; \
			dkms remove exchrange/$${source\#*/exchrange-} --all; rm -rf "$$source"; \
		done; rm -f $(modules_load); fi

# Debian's names of what install-dkms needs and does not find.
missing_program = $(if $(shell command -v $(1)),,$(2))
missing_for_dkms = $(strip $(call missing_program,dkms,dkms) $(call missing_program,$(CC),gcc) \
		$(missing_headers) $(call missing_program,bpftool,bpftool))

.PHONY: check-for-dkms install-dkms install-dkms-source
check-for-dkms:
	$(Q)missing='$(missing_for_dkms)'; [ -z "$$missing" ] || { \
		echo "This is missing, and nothing was installed: apt-get install $$missing" >&2; exit 1; }
	$(Q)! dpkg -S $(modules_load) 2>/dev/null || { \
		echo "The package exchrange-dkms is installed, and does that." >&2; exit 1; }

# What DKMS builds from, as packages have it too.
install-dkms-source:
	$(Q)set -e; for file in $(dkms_files); do \
		$(INSTALL) -D -m "$$([ -x $$file ] && echo 755 || echo 644)" \
			$$file $(DESTDIR)$(dkms_source)/$$file; \
	done
	$(Q)sed 's|@VERSION@|$(VERSION)|' module/dkms.conf >$(DESTDIR)$(dkms_source)/dkms.conf
	$(Q)$(install_modules_load)

install-dkms: check-for-dkms
	$(Q)$(dkms_remove)
	$(Q)$(MAKE) --no-print-directory DESTDIR= install-tools install-dkms-source
	$(say) DKMS exchrange/$(VERSION)
	$(Q)dkms install exchrange/$(VERSION) -k $(KERNEL_RELEASE)
	$(Q)for headers in $(filter-out %/$(KERNEL_RELEASE)/build,$(wildcard /lib/modules/*/build)); do \
		kernel=$${headers%/build}; dkms install exchrange/$(VERSION) -k $${kernel##*/} || :; \
	done

.PHONY: deb
deb:
	@packaging/make_deb $(BUILD)

.PHONY: uninstall
uninstall:
	$(say) REMOVE $(DESTDIR)$(PREFIX)
	$(Q)$(if $(DESTDIR),,$(dkms_remove))
	$(Q)rm -f $(DESTDIR)$(INCLUDEDIR)/linux/exchrange.h \
		$(DESTDIR)$(INCLUDEDIR)/exchrange.h \
		$(DESTDIR)$(LIBDIR)/libexchange.a $(DESTDIR)$(LIBDIR)/libexchange.so* \
		$(DESTDIR)$(LIBDIR)/pkgconfig/libexchange.pc \
		$(DESTDIR)$(LIBDIR)/$(notdir $(PRELOAD)) $(DESTDIR)$(BINDIR)/exchrange \
		$(DESTDIR)$(bash_completion) $(DESTDIR)$(zsh_completion) \
		$(DESTDIR)$(sqlite_place)/exchrange_vfs.so \
		$(DESTDIR)$(sqlite_place)/exchrange_vfs_default.so \
		$(foreach manual,$(notdir $(command_manuals) $(manuals)) $(shared_manuals), \
			$(call manual_place,$(manual)))
	$(Q)$(if $(DESTDIR),,dpkg -S $(modules_load) >/dev/null 2>&1 ||) rm -f $(DESTDIR)$(modules_load)
	$(Q)for module in $(DESTDIR)/lib/modules/*/updates/exchrange.ko*; do \
		[ -e "$$module" ] || continue; \
		rm -f "$$module"; \
		[ -n "$(DESTDIR)" ] || depmod "$$(echo "$$module" | cut -d / -f 4)"; \
	done
	$(Q)$(if $(DESTDIR),,ldconfig)

# What kbuild made too, though its headers may be gone.
.PHONY: clean
clean:
	$(Q)rm -rf $(BUILD)
	$(Q)rm -rf exchrange.o exchrange.ko exchrange.mod exchrange.mod.c exchrange.mod.o \
		Module.symvers modules.order .module-common.o .tmp_versions
	$(Q)find module . -maxdepth 2 \( -name '*.o' -o -name '.*.cmd' \) -exec rm -f {} +

.PHONY: help
help:
	@echo "make              build what this machine can: the module, the library, the command"
	@echo "make install      install it under PREFIX=$(PREFIX); DESTDIR= is put before it"
	@echo "make install-dkms the same, with the module for later kernels too"
	@echo "make uninstall    remove it again"
	@echo "make deb          the Debian packages, in $(BUILD)/"
	@echo "make demo         boot a guest and swap two real files in it"
	@echo "make check        run every test, in guests; KERNEL_TREE=DIR: on the kernel built in DIR"
	@echo "make check-kernels  the same and more on Linux 6.1, 6.12 and the newest one: hours"
	@echo "make check-crash  every crash point and many power cuts: an hour"
	@echo "make check-debug  every test and more on a kernel with KASAN, lockdep, kmemleak: hours"
	@echo "make check-stress random operations and calls, and the long tables: hours"
	@echo "make check-fio    build fio and its engine from FIO_SOURCE=DIR, and test them"
	@echo "make bench        measure, in a guest"
	@echo "make bench-database  measure SQLite, write Documentation/benchmarks (takes gnuplot)"
	@echo "make lint         checkpatch, sparse, cppcheck, shellcheck, the man pages"
	@echo "make pictures     draw the pictures of the documents again"
	@echo "make deps         install what demo, check and bench need (as root; else say what)"
	@echo "make modules      only the module, for KERNEL_RELEASE=$(KERNEL_RELEASE)"
	@echo "make fio          the I/O engine of fio, for the fio whose configured source is FIO_SOURCE=DIR"
	@echo "make tools        only the libraries, the command, and the VFS for SQLite"
	@echo "make clean        remove what was built"
	@echo
	@echo "UNTESTED=1 builds the back ends for a series of kernels that was not tested."
	@echo "V=1 shows the commands; W=1 and WERROR=1 are for developers."

-include $(shell test -d $(BUILD) && find $(BUILD) -name '*.d')
