//! The cheapest instruction of a function for a probe.
//!
//! The probe must see every call once, with the arguments still in their registers, and with the stack
//! pointer where the call left it, since the return probe finds the return address there. So it goes on
//! the first instruction that the kernel emulates, if all before it just run through: none of them
//! branches, moves the stack pointer or writes an argument, and no jump of the function leads to
//! the probe or to before it.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess,
    Register,
};

/// How the kernel runs an instruction that a probe replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In software: cheap.
    Emulated,
    /// Elsewhere in memory, in single-step mode: about ten times as much.
    SingleStepped,
}

impl Kind {
    /// As the manifest has it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Emulated => "emulated",
            Kind::SingleStepped => "single-stepped",
        }
    }
}

/// Where in a function a probe goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes behind the function's first instruction.
    pub into: u64,
    /// How the kernel runs the instruction there.
    pub kind: Kind,
    /// The instruction.
    pub instruction: Vec<u8>,
}

/// Arguments of a call in the order of their registers (System V ABI for x86-64, section 3.2.3).
const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// The place for a probe that reads the first `arguments` arguments of a function.
pub fn best(code: &[u8], arguments: usize) -> Place {
    let decoded = decode(code);
    let at =
        |instruction: &Instruction| code[instruction.ip() as usize..][..instruction.len()].to_vec();
    let mut info = InstructionInfoFactory::new();
    let targets: Vec<u64> = decoded.iter().filter_map(jumps_to).collect();
    for instruction in &decoded {
        let begins = instruction.ip();
        if targets.iter().any(|target| (1..=begins).contains(target)) {
            break;
        }
        if is_emulated(instruction) {
            // A loop back to the very first instruction would be seen as a call.
            if targets.contains(&0) {
                break;
            }
            return Place { into: begins, kind: Kind::Emulated, instruction: at(instruction) };
        }
        let kept = |register: Register| {
            register == Register::RSP
                || ARGUMENTS[..arguments.min(ARGUMENTS.len())].contains(&register)
        };
        let writes = info.info(instruction).used_registers().iter().any(|used| {
            let read_only = matches!(used.access(), OpAccess::Read | OpAccess::CondRead);
            !read_only && kept(used.register().full_register())
        });
        if writes || instruction.flow_control() != FlowControl::Next {
            break;
        }
    }
    let instruction = decoded.first().map_or_else(Vec::new, at);
    Place { into: 0, kind: Kind::SingleStepped, instruction }
}

/// As [`best`], where instructions can be decoded; elsewhere on the first one.
pub fn of_function(code: &[u8], arguments: usize) -> Place {
    if cfg!(target_arch = "x86_64") {
        best(code, arguments)
    } else {
        Place { into: 0, kind: Kind::SingleStepped, instruction: Vec::new() }
    }
}

/// A probe on the instruction that begins `into` bytes behind the start of the code.
pub fn at(code: &[u8], into: u64) -> Place {
    let rest = code.get(into as usize..).unwrap_or_default();
    match decode(rest).first() {
        Some(first) => {
            let kind = if is_emulated(first) { Kind::Emulated } else { Kind::SingleStepped };
            Place { into, kind, instruction: rest[..first.len()].to_vec() }
        }
        None => Place { into, kind: Kind::SingleStepped, instruction: Vec::new() },
    }
}

/// The places from which the function returns, if these are all its ways out: it jumps to no other.
pub fn returns(code: &[u8]) -> Option<Vec<Place>> {
    let decoded = decode(code);
    let length = decoded.last()?.next_ip();
    let inside = |target: u64| target < length;
    let leaves = |instruction: &Instruction| match instruction.flow_control() {
        FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
            !near_target(instruction).is_some_and(inside)
        }
        FlowControl::IndirectBranch => true,
        FlowControl::Next
        | FlowControl::Return
        | FlowControl::Call
        | FlowControl::IndirectCall
        | FlowControl::Interrupt
        | FlowControl::XbeginXabortXend
        | FlowControl::Exception => false,
    };
    if length != code.len() as u64 || decoded.iter().any(leaves) {
        return None;
    }
    let returns = decoded.iter().filter(|it| it.flow_control() == FlowControl::Return);
    Some(returns.map(|instruction| at(code, instruction.ip())).collect())
}

/// Whether an instruction begins `into` bytes behind the start of the code.
pub fn begins_at(code: &[u8], into: u64) -> bool {
    decode(code).iter().any(|instruction| instruction.ip() == into)
}

/// Whether the function calls or jumps to `target`, given as the distance from its own start.
pub fn leads_to(code: &[u8], target: i64) -> bool {
    decode(code).iter().filter_map(near_target).any(|to| to.cast_signed() == target)
}

fn decode(code: &[u8]) -> Vec<Instruction> {
    let whole = |instruction: &Instruction| !instruction.is_invalid();
    Decoder::with_ip(64, code, 0, DecoderOptions::NONE).into_iter().take_while(whole).collect()
}

fn near_target(instruction: &Instruction) -> Option<u64> {
    let near = instruction.is_jcc_short_or_near()
        || instruction.is_jmp_short_or_near()
        || instruction.is_call_near();
    near.then(|| instruction.near_branch_target())
}

/// Where a jump within the function leads. A call of itself is a call, and not counted.
fn jumps_to(instruction: &Instruction) -> Option<u64> {
    if instruction.is_call_near() { None } else { near_target(instruction) }
}

/// What `branch_xol_ops` and `push_xol_op` take (`arch/x86/kernel/uprobes.c`): relative jumps and calls
/// without a prefix for 16 bits, the one-byte nop, and pushes of a register.
fn is_emulated(instruction: &Instruction) -> bool {
    match instruction.code() {
        Code::Push_r64 => instruction.len() <= 2,
        Code::Nopd => instruction.len() == 1,
        Code::Call_rel32_64 | Code::Jmp_rel8_64 | Code::Jmp_rel32_64 => true,
        _ => instruction.is_jcc_short_or_near() && !matches!(instruction.len(), 3 | 5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(code: &[u8], arguments: usize) -> (u64, Kind) {
        let place = best(code, arguments);
        (place.into, place.kind)
    }

    #[test]
    fn the_first_instruction_that_is_emulated_is_taken() {
        // push %r12; push %rbp
        assert_eq!(place(&[0x41, 0x54, 0x55], 1), (0, Kind::Emulated));
        // test %rdi,%rdi; je +4; push %rbp; nop; nop; nop; ret
        let free = [0x48, 0x85, 0xff, 0x74, 0x04, 0x55, 0x90, 0x90, 0x90, 0xc3];
        assert_eq!(place(&free, 1), (3, Kind::Emulated));
        // endbr64; cmpb $0,0x10(%rip); push %r12
        let aligned = [0xf3, 0x0f, 0x1e, 0xfa, 0x80, 0x3d, 0x10, 0, 0, 0, 0, 0x41, 0x54];
        assert_eq!(place(&aligned, 3), (11, Kind::Emulated));
    }

    #[test]
    fn nothing_that_matters_may_have_happened_before() {
        let first = (0, Kind::SingleStepped);
        // sub $8,%rsp; push %rbp
        assert_eq!(place(&[0x48, 0x83, 0xec, 0x08, 0x55], 1), first);
        // mov %rsi,%rdi; push %rbp: it matters only if the argument is read.
        let moves = [0x48, 0x89, 0xf7, 0x55];
        assert_eq!(place(&moves, 1), first);
        assert_eq!(place(&moves, 0), (3, Kind::Emulated));
        // mov %esi,%edi clears the upper half too.
        assert_eq!(place(&[0x89, 0xf7, 0x55], 1), first);
        // mul %rdx writes %rdx; jo
        assert_eq!(place(&[0x48, 0xf7, 0xe2, 0x70, 0x02, 0xc3], 3), first);
        // ret
        assert_eq!(place(&[0xc3, 0x55], 0), first);
        assert_eq!(place(&[], 0), first);
    }

    #[test]
    fn no_loop_may_come_by_again() {
        // xor %eax,%eax; push %rbp; pop %rbp; jmp to the push, or to before it
        assert_eq!(place(&[0x31, 0xc0, 0x55, 0x5d, 0xeb, 0xfc], 1), (0, Kind::SingleStepped));
        assert_eq!(place(&[0x31, 0xc0, 0x55, 0x5d, 0xeb, 0xfa], 1), (0, Kind::SingleStepped));
        // to behind it
        assert_eq!(place(&[0x31, 0xc0, 0x55, 0x5d, 0xeb, 0xfd], 1), (2, Kind::Emulated));
    }

    #[test]
    fn a_probe_goes_where_an_instruction_begins() {
        // push %rbp; mov %rsp,%rbp; nop
        let code = [0x55, 0x48, 0x89, 0xe5, 0x90];
        assert_eq!(
            [0, 1, 2, 4, 5].map(|into| begins_at(&code, into)),
            [true, true, false, true, false]
        );
        assert_eq!(at(&code, 4), Place { into: 4, kind: Kind::Emulated, instruction: vec![0x90] });
        assert_eq!(at(&code, 1).kind, Kind::SingleStepped);
    }

    #[test]
    fn a_function_returns_where_it_says_so() {
        // test %rdi,%rdi; je +1; ret; nop; ret
        let code = [0x48, 0x85, 0xff, 0x74, 0x01, 0xc3, 0x90, 0xc3];
        let places = returns(&code).unwrap();
        assert_eq!(places.iter().map(|place| place.into).collect::<Vec<_>>(), [5, 7]);
        // jmp to another function
        assert_eq!(returns(&[0xe9, 0x10, 0, 0, 0]), None);
        // jmp *%rax
        assert_eq!(returns(&[0xff, 0xe0]), None);
        assert_eq!(returns(&[]), None);
    }

    #[test]
    fn wrappers_are_known_by_where_they_lead() {
        // jmp +0x10
        assert!(leads_to(&[0xe9, 0x10, 0, 0, 0], 0x15));
        assert!(!leads_to(&[0xe9, 0x10, 0, 0, 0], 0x16));
        // call -0x20
        assert!(leads_to(&[0xe8, 0xe0, 0xff, 0xff, 0xff, 0xc3], -0x1b));
    }
}
