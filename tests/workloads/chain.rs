//! A chain of functions in Rust, at whose end CPU time is burned: `chain-rust MS`.

use std::hint::black_box;
use std::time::{Duration, Instant};

#[unsafe(no_mangle)]
#[inline(never)]
fn spin(ms: u64) {
    let end = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < end {
        for round in 0..100_000 {
            black_box(round);
        }
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
fn large(ms: u64) {
    let mut local = [0_u8; 70_000];
    black_box(&mut local);
    [1, 2].iter().for_each(|number| {
        if *number == 1 {
            black_box(spin)(ms);
        }
    });
    black_box(&local);
}

#[unsafe(no_mangle)]
#[inline(never)]
fn catches(ms: u64) {
    let caught = std::panic::catch_unwind(|| black_box(large)(ms));
    black_box(&caught).as_ref().unwrap();
}

fn main() {
    let ms = std::env::args().nth(1).unwrap().parse().unwrap();
    black_box(catches)(ms);
    println!("chain pid={}", std::process::id());
}
