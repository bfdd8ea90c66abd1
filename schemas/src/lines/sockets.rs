//! The two ends of sockets, as several tables have them.

use super::codes;
use super::value::{Column, Value};

/// The kernel's number of IPv4 (`AF_INET`).
pub const IPV4: i32 = 2;
/// The kernel's number of IPv6 (`AF_INET6`).
pub const IPV6: i32 = 10;

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
#[macro_export]
macro_rules! ends {
    ($rows:expr, $row:expr) => {
        $crate::lines::sockets::Ends {
            family: $rows.family.value($row),
            laddr: $crate::known!($rows.laddr, $row),
            lport: $rows.lport.value($row),
            raddr: $crate::known!($rows.raddr, $row),
            rport: $rows.rport.value($row),
        }
    };
}

/// The version of the Internet Protocol: 4 or 6; the data has the kernel's number of the family.
#[must_use]
pub fn ip_version(family: i32) -> Value {
    let name = match family {
        IPV4 => "4".into(),
        IPV6 => "6".into(),
        other => codes::address_family(other),
    };
    Value::Named(i64::from(family), name)
}

/// The columns of a socket's two ends.
#[must_use]
pub fn end_columns() -> [Column; 4] {
    [
        Column::new("laddr", "LADDR").wide(15),
        Column::new("lport", "LPORT").right().wide(5),
        Column::new("raddr", "RADDR").wide(15),
        Column::new("rport", "RPORT").right().wide(5),
    ]
}

/// Their values.
#[must_use]
pub fn end_values(ends: Ends<'_>) -> [Value; 4] {
    [
        Value::text(ends.laddr),
        Value::Int(i64::from(ends.lport)),
        Value::text(ends.raddr),
        Value::Int(i64::from(ends.rport)),
    ]
}

/// The column of a row's time: in tables only if it was asked for.
#[must_use]
pub fn time_column(shown: bool) -> Column {
    let column = Column::new("ts", "TIME");
    if shown { column.wide(12) } else { column.in_data() }
}
