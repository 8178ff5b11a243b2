# U-Boot's part in trying a revision once. mkimage makes boot.scr of it, which U-Boot finds on the first partition.
#
# The environment that the agent writes lies twice before the first partition, as U-Boot's redundant environments do, and as
# fw_env.config says: checksum (4 bytes), counter (1), variables. A U-Boot that is built with one copy elsewhere reads them by this
# script. `env import -c` and `env export -c` know a copy without the counter: it is cut out and put in.
setenv in ${kernel_addr_r}
setexpr in_counter ${in} + 4
setexpr in_data ${in} + 5
setexpr out ${in} + 0x10000
setexpr out_data ${out} + 4
${devtype} dev ${devnum}

setenv pv_copy
for copy in 0x200 0x400; do
	${devtype} read ${in} ${copy} 0x10
	setexpr.b counter *${in_counter}
	cp.b ${in} ${out} 4
	cp.b ${in_data} ${out_data} 0x1ffb
	if env import -c ${out} 0x1fff pv_rev_part; then
		setenv later yes
		if test -n "${pv_copy}"; then
			# Counters go round: 0 comes after ff.
			if itest.b 0x${pv_counter} -gt 0x${counter}; then setenv later no; fi
			if itest.b 0x${pv_counter} == 0xff && itest.b 0x${counter} == 0; then setenv later yes; fi
			if itest.b 0x${pv_counter} == 0 && itest.b 0x${counter} == 0xff; then setenv later no; fi
		fi
		if test "${later}" = yes; then
			setenv pv_copy ${copy}
			setenv pv_counter ${counter}
		fi
	fi
done
if test -z "${pv_copy}"; then
	echo "goalpost: neither copy of the environment has a right checksum"
	sleep 5
	reset
fi

for name in pv_rev pv_rev_part pv_try pv_try_part pv_trying; do setenv ${name}; done
${devtype} read ${in} ${pv_copy} 0x10
cp.b ${in} ${out} 4
cp.b ${in_data} ${out_data} 0x1ffb
env import -c ${out} 0x1fff pv_rev pv_rev_part pv_try pv_try_part pv_trying
setenv pv_boot ${pv_rev}
setenv pv_boot_part ${pv_rev_part}
setenv pv_args

# A candidate is booted only if that it is booted is on the disk.
if test -n "${pv_try}" && test "${pv_try}" != "${pv_trying}"; then
	setenv pv_trying ${pv_try}
	if test "${pv_copy}" = 0x200; then setenv other 0x400; else setenv other 0x200; fi
	setexpr.b counter 0x${pv_counter} + 1
	mw.b ${out} 0 0x2000
	env export -c -s 0x1fff ${out} pv_rev pv_rev_part pv_try pv_try_part pv_trying
	cp.b ${out} ${in} 4
	mw.b ${in_counter} 0x${counter}
	cp.b ${out_data} ${in_data} 0x1ffb
	if ${devtype} write ${in} ${other} 0x10; then
		setenv pv_boot ${pv_try}
		setenv pv_boot_part ${pv_try_part}
		setenv pv_args pv_try=${pv_try}
	fi
fi

setenv bootargs "console=ttyAMA0 panic=5 pv_rev=${pv_boot} ${pv_args}"
echo "goalpost: partition ${pv_boot_part}: ${bootargs}"
setenv pv_fdt ${fdt_addr}
if test -n "${fdt_addr_r}"; then
	if load ${devtype} ${devnum}:${pv_boot_part} ${fdt_addr_r} pv-fdt.dtb; then setenv pv_fdt ${fdt_addr_r}; fi
fi
load ${devtype} ${devnum}:${pv_boot_part} ${kernel_addr_r} pv-kernel.img
if load ${devtype} ${devnum}:${pv_boot_part} ${ramdisk_addr_r} pv-initrd.img; then
	booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${pv_fdt}
else
	booti ${kernel_addr_r} - ${pv_fdt}
fi
echo "goalpost: it could not be booted"
sleep 1
reset
