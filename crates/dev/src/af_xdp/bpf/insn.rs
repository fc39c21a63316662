//! A small assembler for the kernel's BPF instruction set (`Documentation/bpf/standardization/instruction-set.rst`): just what the steering program needs.

/// A register: `R0` holds results, `R1` to `R5` arguments (lost in calls), `R6` to `R9` are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reg {
    R0 = 0,
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R4 = 4,
    R6 = 6,
    R7 = 7,
    R8 = 8,
    R9 = 9,
}

/// How many bytes a load reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    Byte,
    Half,
    Word,
}

/// A condition over 64 bits (registers) or, where it says so, over the low 32 bits and a constant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cond {
    Eq,
    Ne,
    Gt,
    Lt,
}

/// A place in the program that jumps lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

const LD_IMM64: u8 = 0x18;
const LDX_MEM: u8 = 0x61;
const ALU64: u8 = 0x07;
const ALU32: u8 = 0x04;
const JMP: u8 = 0x05;
const JMP32: u8 = 0x06;
const SRC_REG: u8 = 0x08;
const PSEUDO_MAP_FD: u8 = 1;

/// A program being written.
#[derive(Debug, Default)]
pub(super) struct Asm {
    insns: Vec<u64>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Asm {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// `struct bpf_insn`: opcode, two registers in one byte, 16-bit offset, 32-bit constant.
    fn emit(&mut self, code: u8, dst: Reg, src: u8, off: i16, imm: u32) {
        let dst = dst as u8;
        let regs = if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
        let [o0, o1] = off.to_ne_bytes();
        let [i0, i1, i2, i3] = imm.to_ne_bytes();
        self.insns.push(u64::from_ne_bytes([code, regs, o0, o1, i0, i1, i2, i3]));
    }

    /// `dst = src`
    pub(super) fn mov(&mut self, dst: Reg, src: Reg) {
        self.emit(ALU64 | 0xb0 | SRC_REG, dst, src as u8, 0, 0);
    }

    /// `dst = imm`
    pub(super) fn mov_imm(&mut self, dst: Reg, imm: u32) {
        self.emit(ALU64 | 0xb0, dst, 0, 0, imm);
    }

    /// `dst += imm`
    pub(super) fn add_imm(&mut self, dst: Reg, imm: u32) {
        self.emit(ALU64, dst, 0, 0, imm);
    }

    /// `dst += src`
    pub(super) fn add(&mut self, dst: Reg, src: Reg) {
        self.emit(ALU64 | SRC_REG, dst, src as u8, 0, 0);
    }

    /// `dst &= imm`, 32 bits; the upper half becomes 0.
    pub(super) fn and32(&mut self, dst: Reg, imm: u32) {
        self.emit(ALU32 | 0x50, dst, 0, 0, imm);
    }

    /// `dst <<= imm`, 32 bits.
    pub(super) fn shl32(&mut self, dst: Reg, imm: u32) {
        self.emit(ALU32 | 0x60, dst, 0, 0, imm);
    }

    /// 16 bits of `dst` from network to host order.
    pub(super) fn be16(&mut self, dst: Reg) {
        self.emit(ALU32 | 0xd0 | SRC_REG, dst, 0, 0, 16);
    }

    /// `dst = *(size *)(src + off)`
    pub(super) fn load(&mut self, size: Size, dst: Reg, src: Reg, off: i16) {
        let size = match size {
            Size::Word => 0x00,
            Size::Half => 0x08,
            Size::Byte => 0x10,
        };
        self.emit(LDX_MEM | size, dst, src as u8, off, 0);
    }

    /// `dst = the map behind this file descriptor`
    pub(super) fn load_map(&mut self, dst: Reg, fd: u32) {
        self.emit(LD_IMM64, dst, PSEUDO_MAP_FD, 0, fd);
        self.insns.push(0);
    }

    pub(super) fn call(&mut self, helper: u32) {
        self.emit(JMP | 0x80, Reg::R0, 0, 0, helper);
    }

    pub(super) fn exit(&mut self) {
        self.emit(JMP | 0x90, Reg::R0, 0, 0, 0);
    }

    /// A label to be [`place`](Self::place)d later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The next instruction is where `label` leads.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.insns.len());
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.emit(JMP, Reg::R0, 0, 0, 0);
    }

    /// Jumps when `dst cond src`, 64 bits.
    pub(super) fn jump_if(&mut self, dst: Reg, cond: Cond, src: Reg, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.emit(JMP | SRC_REG | cond.code(), dst, src as u8, 0, 0);
    }

    /// Jumps when the low 32 bits of `dst` are `cond` a constant.
    pub(super) fn jump_if32(&mut self, dst: Reg, cond: Cond, imm: u32, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.emit(JMP32 | cond.code(), dst, 0, 0, imm);
    }

    /// The finished program, or nothing when a jump is too long for its 16-bit offset.
    pub(super) fn finish(mut self) -> Option<Vec<u64>> {
        for (at, label) in self.jumps {
            let target = self.labels[label.0].expect("every label is placed");
            let off = i16::try_from(target as i64 - at as i64 - 1).ok()?;
            let mut insn = self.insns[at].to_ne_bytes();
            insn[2..4].copy_from_slice(&off.to_ne_bytes());
            self.insns[at] = u64::from_ne_bytes(insn);
        }
        Some(self.insns)
    }
}

impl Cond {
    fn code(self) -> u8 {
        match self {
            Self::Eq => 0x10,
            Self::Gt => 0x20,
            Self::Ne => 0x50,
            Self::Lt => 0xa0,
        }
    }
}
