//! TCP: connections that were begun, the lives of sockets, and round trips.
//!
//! Each of the four reports is one of bcc's: `connects` is tcpconnlat, `states` tcpstates, `lives`
//! tcplife and `rtt` tcprtt. All of them name a socket by its two ends, so they share the filters
//! for those.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use crate::codes;
use crate::hosts;
use crate::hosts::by::Grouping;
use crate::render::{Column, Value};

pub mod connects;
pub mod lives;
pub mod rtt;
pub mod states;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze tcp connects web1.lookback --failed\n  \
                           analyze tcp lives web1.lookback --lport 443\n  \
                           analyze tcp rtt web1.lookback --by raddr";

/// Options of `analyze tcp`.
#[derive(Args, Debug)]
pub struct TcpArgs {
    /// Which report.
    #[command(subcommand)]
    pub report: Report,
}

/// The reports.
#[derive(Subcommand, Debug)]
pub enum Report {
    /// Connections that processes here began, with how long they took or why they failed
    #[command(after_help = connects::EXAMPLE)]
    Connects(connects::ConnectsArgs),
    /// Sockets changing from state to state
    #[command(after_help = states::EXAMPLE)]
    States(states::StatesArgs),
    /// Sockets from their first state to the last, with what they carried
    #[command(after_help = lives::EXAMPLE)]
    Lives(lives::LivesArgs),
    /// Round-trip times, as a histogram
    #[command(after_help = rtt::EXAMPLE)]
    Rtt(rtt::RttArgs),
}

/// Prints the report.
///
/// # Errors
/// If a table is damaged, or the output cannot be written.
pub fn run(args: &TcpArgs) -> anyhow::Result<()> {
    match &args.report {
        Report::Connects(args) => {
            let by_host = Grouping::is_by_host(args.by.as_ref());
            hosts::each(&args.source, by_host, |source| connects::run(args, source))?;
        }
        Report::States(args) => {
            hosts::each(&args.source, false, |source| states::run(args, source))?;
        }
        Report::Lives(args) => {
            hosts::each(&args.source, false, |source| lives::run(args, source))?;
        }
        Report::Rtt(args) => {
            let by_host = Grouping::is_by_host(args.by.as_ref());
            hosts::each(&args.source, by_host, |source| rtt::run(args, source))?;
        }
    }
    Ok(())
}

/// Which sockets, by their ends.
#[derive(Args, Clone, Debug, Default)]
pub struct EndsArgs {
    /// Only sockets of this local port; can be given again
    #[arg(long, value_name = "PORT", help_heading = "Filters")]
    pub lport: Vec<u16>,
    /// Only sockets of this remote port; can be given again
    #[arg(long, value_name = "PORT", help_heading = "Filters")]
    pub rport: Vec<u16>,
    /// Only sockets of this local address; can be given again
    #[arg(long, value_name = "ADDRESS", help_heading = "Filters")]
    pub laddr: Vec<IpAddr>,
    /// Only sockets of this remote address; can be given again
    #[arg(long, value_name = "ADDRESS", help_heading = "Filters")]
    pub raddr: Vec<IpAddr>,
    /// Only sockets of this family: 4 or 6
    #[arg(long, value_name = "4|6", value_parser = family, help_heading = "Filters")]
    pub family: Option<i32>,
}

/// The kernel's number of IPv4 (`AF_INET`).
const IPV4: i32 = 2;
/// The kernel's number of IPv6 (`AF_INET6`).
const IPV6: i32 = 10;

fn family(text: &str) -> Result<i32, String> {
    match text {
        "4" => Ok(IPV4),
        "6" => Ok(IPV6),
        _ => Err("take 4 or 6".to_owned()),
    }
}

/// The two ends of a socket, as a row names them.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// The kernel's number of the socket's family.
    pub family: i32,
    /// Local address.
    pub laddr: Option<&'a str>,
    /// Local port; 0 if it has none.
    pub lport: i32,
    /// Remote address.
    pub raddr: Option<&'a str>,
    /// Remote port; 0 if it has none.
    pub rport: i32,
}

/// The [`Ends`] that a row names, of any table of sockets.
macro_rules! ends {
    ($rows:expr, $row:expr) => {
        $crate::tcp::Ends {
            family: $rows.family.value($row),
            laddr: known!($rows.laddr, $row),
            lport: $rows.lport.value($row),
            raddr: known!($rows.raddr, $row),
            rport: $rows.rport.value($row),
        }
    };
}
use ends;

impl EndsArgs {
    /// Whether the socket with these ends is to be looked at.
    #[must_use]
    pub fn admits(&self, ends: Ends<'_>) -> bool {
        let port = |wanted: &[u16], port: i32| {
            wanted.is_empty() || wanted.iter().any(|wanted| i32::from(*wanted) == port)
        };
        let address = |wanted: &[IpAddr], text: Option<&str>| {
            wanted.is_empty()
                || text.and_then(|text| text.parse::<IpAddr>().ok()).is_some_and(|address| {
                    wanted.iter().any(|wanted| wanted.to_canonical() == address.to_canonical())
                })
        };
        port(&self.lport, ends.lport)
            && port(&self.rport, ends.rport)
            && self.family.is_none_or(|family| family == ends.family)
            && address(&self.laddr, ends.laddr)
            && address(&self.raddr, ends.raddr)
    }
}

/// The version of the Internet Protocol: 4 or 6; the data has the kernel's number of the family.
fn ip_version(family: i32) -> Value {
    let name = match family {
        IPV4 => "4".into(),
        IPV6 => "6".into(),
        other => codes::address_family(other),
    };
    Value::Named(i64::from(family), name)
}

/// The columns of a socket's two ends.
fn end_columns() -> [Column; 4] {
    [
        Column::new("laddr", "LADDR").wide(15),
        Column::new("lport", "LPORT").right().wide(5),
        Column::new("raddr", "RADDR").wide(15),
        Column::new("rport", "RPORT").right().wide(5),
    ]
}

fn end_values(ends: Ends<'_>) -> [Value; 4] {
    [
        Value::text(ends.laddr),
        Value::Int(i64::from(ends.lport)),
        Value::text(ends.raddr),
        Value::Int(i64::from(ends.rport)),
    ]
}

/// The column of a row's time: in tables only if it was asked for.
fn time_column(shown: bool) -> Column {
    let column = Column::new("ts", "TIME");
    if shown { column.wide(12) } else { column.in_data() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_chosen_by_their_ends() {
        let ends = Ends {
            family: IPV6,
            laddr: Some("::1"),
            lport: 80,
            raddr: Some("10.0.0.2"),
            rport: 4000,
        };
        let address = |text: &str| vec![text.parse::<IpAddr>().expect("it is one")];
        let fits = |args: &EndsArgs| args.admits(ends);
        assert!(fits(&EndsArgs::default()));
        assert!(fits(&EndsArgs { lport: vec![1, 80], ..EndsArgs::default() }));
        assert!(!fits(&EndsArgs { rport: vec![80], ..EndsArgs::default() }));
        assert!(fits(&EndsArgs { laddr: address("0:0::1"), ..EndsArgs::default() }));
        assert!(fits(&EndsArgs { raddr: address("::ffff:10.0.0.2"), ..EndsArgs::default() }));
        assert!(!fits(&EndsArgs { raddr: address("10.0.0.3"), ..EndsArgs::default() }));
        assert!(!fits(&EndsArgs { family: family("4").ok(), ..EndsArgs::default() }));
        let unknown = Ends { laddr: None, ..ends };
        assert!(!EndsArgs { laddr: address("::1"), ..EndsArgs::default() }.admits(unknown));
        assert!(family("5").is_err());
    }
}
