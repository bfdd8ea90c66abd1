//! The map of code that a process has made itself. The first byte says in which pieces it comes.
#![no_main]

#[path = "../../../recorder/perf_map.rs"]
mod perf_map;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((piece, text)) = bytes.split_first() else { return };
    let mut map = perf_map::PerfMap::default();
    for part in text.chunks(usize::from(*piece) + 1) {
        map.add(part);
    }
    for address in [0, 0x1000, 0x7fff_0000_0000, u64::MAX] {
        if let Some(function) = map.find(address) {
            assert!(function.offset <= address);
        }
    }
    map.begin_anew();
    map.add(b"1000 10 again\n");
    assert!(map.is_full() || map.find(0x1008).is_some_and(|found| &*found.name == "again"));
});
