//! What single tracers are to record: options that leave out, in the kernel already, what nobody will
//! ask for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, bail};
use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use lookback_schemas::manifest::Filters;
use lookback_schemas::suggest::did_you_mean;
use syscalls::Sysno;

use crate::cli::duration;
use crate::tracers::Choice;

/// Options of single tracers.
#[derive(Args, Clone, Debug)]
pub struct Selection {
    /// Tracer `syscall`: only these system calls, by name, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Tracers")]
    pub syscall: Vec<Syscall>,

    /// Tracer `syscall`: keep the arguments too, as numbers
    #[arg(long, help_heading = "Tracers")]
    pub syscall_args: bool,

    /// Leave out waits (for a CPU, and off the CPUs), calls, interrupts and connects that took less time
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Tracers")]
    pub min_latency: Option<Duration>,

    /// Tracer `kalloc`: which memory of the kernel's own, separated by commas
    #[arg(long, value_enum, value_name = "KINDS", value_delimiter = ',', help_heading = "Tracers",
          default_values_t = [Memory::Slab, Memory::Pages, Memory::Percpu])]
    pub kalloc: Vec<Memory>,

    /// Tracer `alloc`: also the allocator in this program or library (repeatable). Without --pid and
    /// COMMAND: in every process that has it
    #[arg(long, value_name = "PATH", help_heading = "Tracers")]
    pub alloc_lib: Vec<PathBuf>,

    /// Tracer `alloc`: also functions with this before their usual names, such as `je_` (repeatable)
    #[arg(long, value_name = "PREFIX", help_heading = "Tracers")]
    pub symbol_prefix: Vec<String>,

    /// Tracer `alloc`: only about one allocation for so many bytes, by lot; rows say what they stand
    /// for
    #[arg(long, value_name = "BYTES", help_heading = "Tracers")]
    pub alloc_sample: Option<ByteSize>,

    /// Tracer `alloc`: whether to keep who allocated
    #[arg(long, value_enum, default_value_t = Switch::On, help_heading = "Tracers")]
    pub alloc_stacks: Switch,

    /// Tracer `alloc`: record children too. The probes are then in every process that has the same
    /// allocator, and slow those down that are not recorded
    #[arg(long, help_heading = "Tracers")]
    pub alloc_follow: bool,

    /// Tracer `alloc`: on kernels before 6.13, also operator `new` of allocators that have their own. If
    /// it throws, the program ends, since exceptions cannot pass the probes
    #[arg(long, help_heading = "Tracers")]
    pub alloc_throwing: bool,

    /// A probe of your own (repeatable): KIND:PLACE[,ARG[:TYPE]]…[,stack][,kstack][,at=ret][,name=NAME], where
    /// KIND:PLACE is usdt:PATH:PROVIDER:NAME, uprobe:PATH:FUNCTION[+OFFSET], uretprobe:PATH:FUNCTION,
    /// kprobe:FUNCTION, kretprobe:FUNCTION, fentry:FUNCTION, fexit:FUNCTION or tracepoint:CATEGORY:NAME;
    /// ARG is arg0 to arg5, retval or a tracepoint's field; TYPE is i8 to i64, u8 to u64, ptr, str or kstr
    #[arg(long, value_name = "PROBE", help_heading = "Tracers")]
    pub probe: Vec<String>,

    /// What lies between two probes (repeatable): NAME=PROBE..PROBE. They belong together by thread, or
    /// where both have key=ARG, by that
    #[arg(long, value_name = "SPAN", help_heading = "Tracers")]
    pub span: Vec<String>,

    /// Tracers `alloc`, `kalloc`: leave out allocations of fewer bytes
    #[arg(long, value_name = "SIZE", help_heading = "Tracers")]
    pub min_size: Option<ByteSize>,

    /// Tracers `alloc`, `kalloc`: leave out allocations of more bytes
    #[arg(long, value_name = "SIZE", help_heading = "Tracers")]
    pub max_size: Option<ByteSize>,

    /// Tracers `tcp…`: only sockets of this local port
    #[arg(long, value_name = "PORT", help_heading = "Tracers",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub lport: Option<u16>,

    /// Tracers `tcp…`: only sockets of this remote port
    #[arg(long, value_name = "PORT", help_heading = "Tracers",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub rport: Option<u16>,

    /// Tracers `tcp…`: only sockets of this IP version
    #[arg(long, value_enum, help_heading = "Tracers")]
    pub family: Option<Family>,

    /// Tracer `tcprtt`: only one of N segments, by lot; rows say how many they stand for
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Tracers",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rtt_sample: u32,

    /// Tracer `lsmconnect`: refuse connects to this address, or to this port of it, with EPERM
    /// (repeatable; IPv6 with a port as [::1]:80)
    #[arg(long, value_name = "ADDR[:PORT]", help_heading = "Tracers")]
    pub deny_connect: Vec<Destination>,
}

impl Selection {
    /// What the manifest says about the options.
    pub fn filters(&self) -> Filters {
        Filters {
            syscalls: self.syscall.iter().map(Syscall::to_string).collect(),
            min_latency: self.min_latency.map_or(0, |time| time.as_nanos() as i64),
            lport: self.lport,
            rport: self.rport,
            ip_version: self.family.map(Family::version),
            rtt_sample: self.rtt_sample,
            denied: self.deny_connect.iter().map(Destination::to_string).collect(),
            alloc_sample: self.alloc_sample.map_or(0, |size| size.as_u64() as i64),
            no_alloc_stacks: self.alloc_stacks == Switch::Off,
            alloc_follow: self.alloc_follow,
            min_size: self.min_size.map_or(0, |size| size.as_u64() as i64),
            max_size: self.max_size.map_or(0, |size| size.as_u64() as i64),
            ..Filters::default()
        }
    }

    /// Makes sure that each option has its tracer, and that a tracer with an option attaches: one that
    /// is left out would deny nothing.
    ///
    /// # Errors
    /// Names the option and the tracer that it needs.
    pub fn check(&self, mut choices: Vec<Choice>) -> Result<Vec<Choice>> {
        let options = [
            ("--syscall", "syscall", !self.syscall.is_empty()),
            ("--syscall-args", "syscall", self.syscall_args),
            ("--min-size", "alloc or kalloc", self.min_size.is_some()),
            ("--max-size", "alloc or kalloc", self.max_size.is_some()),
            ("--alloc-lib", "alloc", !self.alloc_lib.is_empty()),
            ("--symbol-prefix", "alloc", !self.symbol_prefix.is_empty()),
            ("--alloc-sample", "alloc", self.alloc_sample.is_some()),
            ("--alloc-stacks", "alloc", self.alloc_stacks == Switch::Off),
            ("--alloc-follow", "alloc", self.alloc_follow),
            ("--alloc-throwing", "alloc", self.alloc_throwing),
            ("--rtt-sample", "tcprtt", self.rtt_sample > 1),
            ("--deny-connect", "lsmconnect", !self.deny_connect.is_empty()),
        ];
        if self.family == Some(Family::V6) && !has_ipv6() {
            bail!("--family 6: IPv6 is disabled on this machine");
        }
        if let Some(rate) = self.alloc_sample
            && !(1..=MOST_SAMPLE).contains(&rate.as_u64())
        {
            bail!("--alloc-sample: between 1 byte and {}", ByteSize(MOST_SAMPLE));
        }
        for (option, tracer, _) in options.into_iter().filter(|(_, _, given)| *given) {
            let serves =
                |choice: &&mut Choice| tracer.split(" or ").any(|name| name == choice.tracer.name);
            match choices.iter_mut().find(serves) {
                Some(choice) => choice.by_name = true,
                None => bail!("{option} needs --trace {tracer}"),
            }
        }
        Ok(choices)
    }
}

/// The kernel side multiplies 32 bits with what the largest sampled allocation stands for: 16 times this.
const MOST_SAMPLE: u64 = 128 << 20;

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// Whether this network namespace speaks IPv6: the module may be off (`ipv6.disable=1`), or every
/// interface.
fn has_ipv6() -> bool {
    let disabled = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    disabled.is_ok_and(|disabled| disabled.trim() != "1")
}

/// Memory of the kernel's own. As a number it is `kind` in the table `kalloc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Memory {
    /// Objects of slabs: kmalloc and kmem_cache_alloc.
    Slab = 0,
    /// Pages.
    Pages = 1,
    /// Memory of each CPU.
    Percpu = 2,
}

/// A system call, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscall(pub usize);

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Sysno::new(self.0) {
            Some(call) => f.write_str(call.name()),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Syscall {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Syscall, String> {
        match name.parse::<Sysno>() {
            Ok(call) => Ok(Syscall(call.id() as usize)),
            Err(()) => {
                let hint = did_you_mean(name, Sysno::iter().map(|call| call.name()));
                Err(format!("there is no system call `{name}` on {}{hint}", std::env::consts::ARCH))
            }
        }
    }
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// IPv4.
    #[value(name = "4")]
    V4,
    /// IPv6.
    #[value(name = "6")]
    V6,
}

impl Family {
    fn version(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }

    /// `AF_INET` or `AF_INET6`.
    pub fn number(self) -> i32 {
        match self {
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        }
    }
}

/// Where a connect goes: an address and a port, or all ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The address.
    pub address: IpAddr,
    /// The port; 0 is every port.
    pub port: u16,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            0 => self.address.fmt(f),
            port => SocketAddr::new(self.address, port).fmt(f),
        }
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Destination, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Destination { address, port: 0 });
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => {
                Ok(Destination { address: address.ip(), port: address.port() })
            }
            Ok(_) | Err(_) => {
                Err("expected an address such as 10.0.0.1, 10.0.0.1:80, ::1 or [::1]:80".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_addresses_with_or_without_a_port() {
        let destination = |text: &str| text.parse::<Destination>().ok();
        let v4 = "10.0.0.1".parse().unwrap();
        assert_eq!(destination("10.0.0.1"), Some(Destination { address: v4, port: 0 }));
        assert_eq!(destination("10.0.0.1:80"), Some(Destination { address: v4, port: 80 }));
        let v6 = "::1".parse().unwrap();
        assert_eq!(destination("::1"), Some(Destination { address: v6, port: 0 }));
        assert_eq!(destination("[::1]:80"), Some(Destination { address: v6, port: 80 }));
        for text in ["", "localhost", "10.0.0.1:0", "10.0.0.1:99999", "10.0.0", "[::1]", "::1]:80"]
        {
            assert_eq!(destination(text), None, "{text}");
        }
    }

    #[test]
    fn system_calls_have_the_numbers_of_this_machine() {
        assert_eq!("write".parse(), Ok(Syscall(libc::SYS_write as usize)));
        assert!("wriet".parse::<Syscall>().is_err());
    }
}
