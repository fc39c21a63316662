//! The part of BPF that steering programs use: a check of their form, as strict as the kernel's verifier is about it, and an interpreter.
//! (`Documentation/bpf/standardization/instruction-set.rst`)

/// What the program says of a packet that stays with the host.
pub const XDP_PASS: u64 = 2;
/// What the helper says, here, of a packet that a socket takes.
pub const XDP_REDIRECT: u64 = 4;

/// Where the interpreter puts the context, the packet and the map.
const CONTEXT: u64 = 0x10_0000;
const PACKET: u64 = 0x20_0000;
const MAP: u64 = 0x30_0000;
/// `rx_queue_index`
const QUEUE: u64 = 7;
const LD_IMM64: u8 = 0x18;
const EXIT: u8 = 0x95;
const CALL: u8 = 0x85;
const JUMP: u8 = 0x05;

/// One instruction, taken apart.
#[derive(Debug, Clone, Copy)]
struct Insn {
    code: u8,
    dst: usize,
    src: usize,
    off: i16,
    imm: u32,
}

impl From<u64> for Insn {
    fn from(word: u64) -> Self {
        let [code, regs, o0, o1, i0, i1, i2, i3] = word.to_ne_bytes();
        let (dst, src) = (usize::from(regs & 15), usize::from(regs >> 4));
        Self { code, dst, src, off: i16::from_ne_bytes([o0, o1]), imm: u32::from_ne_bytes([i0, i1, i2, i3]) }
    }
}

impl Insn {
    fn is_jump(self) -> bool {
        matches!(self.code & 7, 5 | 6) && self.code != CALL && self.code != EXIT
    }

    /// Where the jump at `at` leads.
    fn target(self, at: usize) -> usize {
        (at + 1).checked_add_signed(self.off.into()).expect("no jump leads in front of the program")
    }
}

/// Every instruction is known and can be reached, jumps lead forward and to instructions, and nothing runs over the end.
///
/// # Panics
/// If it is not so.
pub fn check(program: &[u64]) {
    let mut reached = vec![false; program.len() + 1];
    reached[0] = true;
    let mut at = 0;
    while at < program.len() {
        assert!(reached[at], "instruction {at} cannot be reached: the kernel would refuse the program");
        let insn = Insn::from(program[at]);
        let next = at + if insn.code == LD_IMM64 { 2 } else { 1 };
        if insn.code == LD_IMM64 {
            assert_eq!(
                (insn.src, program[at + 1]),
                (1, 0),
                "a map by its file descriptor, and nothing in the second half"
            );
        }
        if insn.is_jump() {
            let target = insn.target(at);
            assert!(target > at && target < program.len(), "the jump at {at} leads to {target}");
            reached[target] = true;
        }
        // What is behind a jump that is always taken is reached from elsewhere, or not at all.
        reached[next] |= insn.code != EXIT && insn.code != JUMP;
        at = next;
    }
    assert!(!reached[program.len()], "it runs over its end");
}

/// What the program says of `packet`.
///
/// # Panics
/// If it reads beyond the packet, uses a register that has no value, or does what the kernel's verifier would not let it.
pub fn run(program: &[u64], packet: &[u8]) -> u64 {
    let mut registers = [None; 11];
    registers[1] = Some(CONTEXT);
    let mut at = 0;
    loop {
        let insn = Insn::from(program[at]);
        let imm = u64::from(insn.imm);
        let get = |register: usize| registers[register].expect("a register without a value is read");
        at += 1;
        match insn.code {
            0xb7 => registers[insn.dst] = Some(imm),
            0xbf => registers[insn.dst] = Some(get(insn.src)),
            0x07 => registers[insn.dst] = Some(get(insn.dst) + imm),
            0x0f => registers[insn.dst] = Some(get(insn.dst) + get(insn.src)),
            0x54 => registers[insn.dst] = Some(get(insn.dst) & imm),
            0x64 => registers[insn.dst] = Some((get(insn.dst) << imm) & 0xffff_ffff),
            0xdc => registers[insn.dst] = Some((get(insn.dst) as u16).swap_bytes().into()),
            0x61 | 0x69 | 0x71 => {
                let from = get(insn.src).checked_add_signed(insn.off.into()).expect("an address");
                let bytes = match insn.code {
                    0x61 => 4,
                    0x69 => 2,
                    _ => 1,
                };
                registers[insn.dst] = Some(load(packet, from, bytes));
            }
            LD_IMM64 => {
                registers[insn.dst] = Some(MAP);
                at += 1;
            }
            CALL => {
                assert_eq!(
                    (insn.imm, get(1), get(2), get(3)),
                    (51, MAP, QUEUE, XDP_PASS),
                    "bpf_redirect_map(map, queue, pass)"
                );
                registers[..6].fill(None);
                registers[0] = Some(XDP_REDIRECT);
            }
            EXIT => return get(0),
            _ => {
                let (a, b) = match insn.code {
                    JUMP => (0, 0),
                    code if code & 0x08 != 0 => (get(insn.dst), get(insn.src)),
                    _ => (get(insn.dst) & 0xffff_ffff, imm),
                };
                let taken = match insn.code & 0xf7 {
                    JUMP => true,
                    0x15 | 0x16 => a == b,
                    0x25 | 0x26 => a > b,
                    0x55 | 0x56 => a != b,
                    0xa5 | 0xa6 => a < b,
                    _ => panic!("an instruction of code {:#x}", insn.code),
                };
                if taken {
                    at = insn.target(at - 1);
                }
            }
        }
    }
}

/// Reads `bytes` of the context or of the packet.
fn load(packet: &[u8], from: u64, bytes: usize) -> u64 {
    match (from, bytes) {
        (CONTEXT, 4) => PACKET,
        (0x10_0004, 4) => PACKET + packet.len() as u64,
        (0x10_0010, 4) => QUEUE,
        _ => {
            let at = usize::try_from(from - PACKET).expect("an offset");
            let field = packet.get(at..at + bytes).expect("it reads beyond the packet");
            let mut value = [0; 8];
            value[..bytes].copy_from_slice(field);
            u64::from_le_bytes(value)
        }
    }
}
