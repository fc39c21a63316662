//! The kernel's contenders, instruction by instruction (`Documentation/bpf/standardization/instruction-set.rst`).

use std::os::fd::{AsRawFd, BorrowedFd};

const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const XDP_TX: i32 = 3;
const GET_PRANDOM_U32: i32 = 7;
const REDIRECT_MAP: i32 = 51;

const MOV: u8 = 0xb7;
const MOV_REG: u8 = 0xbf;
const ADD: u8 = 0x07;
const LOAD_WORD: u8 = 0x61;
const LOAD_HALF: u8 = 0x69;
const STORE_HALF: u8 = 0x6b;
const LOAD_MAP: u8 = 0x18;
const JUMP_IF_GREATER: u8 = 0x2d;
const JUMP_IF_NOT: u8 = 0x55;
const REMAINDER: u8 = 0x97;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// `BPF_PSEUDO_MAP_FD`, in the place of a source register.
const MAP_FD: u8 = 1;

/// `struct bpf_insn`: opcode, two registers in one byte, 16-bit offset, 32-bit constant.
fn insn(code: u8, dst: u8, src: u8, offset: i16, constant: i32) -> u64 {
    let registers = if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
    let ([o0, o1], [c0, c1, c2, c3]) = (offset.to_ne_bytes(), constant.to_ne_bytes());
    u64::from_ne_bytes([code, registers, o0, o1, c0, c1, c2, c3])
}

/// `return XDP_DROP`
pub(crate) fn drop() -> Vec<u64> {
    vec![insn(MOV, 0, 0, 0, XDP_DROP), insn(EXIT, 0, 0, 0, 0)]
}

/// `return bpf_get_prandom_u32() % one_in ? XDP_PASS : XDP_DROP`
pub(crate) fn lossy(one_in: i32) -> Vec<u64> {
    let mut program =
        vec![insn(CALL, 0, 0, 0, GET_PRANDOM_U32), insn(REMAINDER, 0, 0, 0, one_in), insn(JUMP_IF_NOT, 0, 0, 2, 0)];
    program.extend(drop());
    program.extend([insn(MOV, 0, 0, 0, XDP_PASS), insn(EXIT, 0, 0, 0, 0)]);
    program
}

/// Swaps the Ethernet addresses, then `return XDP_TX`.
pub(crate) fn tx() -> Vec<u64> {
    // r2 = data, r3 = data_end; a packet without 14 bytes is dropped.
    let mut program = vec![
        insn(LOAD_WORD, 2, 1, 0, 0),
        insn(LOAD_WORD, 3, 1, 4, 0),
        insn(MOV_REG, 4, 2, 0, 0),
        insn(ADD, 4, 0, 0, 14),
        insn(JUMP_IF_GREATER, 4, 3, 3 * 4 + 2, 0),
    ];
    for at in [0, 2, 4] {
        program.extend([
            insn(LOAD_HALF, 4, 2, at, 0),
            insn(LOAD_HALF, 5, 2, at + 6, 0),
            insn(STORE_HALF, 2, 4, at + 6, 0),
            insn(STORE_HALF, 2, 5, at, 0),
        ]);
    }
    program.extend([insn(MOV, 0, 0, 0, XDP_TX), insn(EXIT, 0, 0, 0, 0)]);
    program.extend(drop());
    program
}

/// `return bpf_redirect_map(map, 0, 0)`
pub(crate) fn redirect(map: BorrowedFd<'_>) -> Vec<u64> {
    vec![
        insn(LOAD_MAP, 1, MAP_FD, 0, map.as_raw_fd()),
        0, // the upper half of a 64-bit constant
        insn(MOV, 2, 0, 0, 0),
        insn(MOV, 3, 0, 0, 0),
        insn(CALL, 0, 0, 0, REDIRECT_MAP),
        insn(EXIT, 0, 0, 0, 0),
    ]
}
