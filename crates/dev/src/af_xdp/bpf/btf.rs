//! The types of the steering program (`Documentation/bpf/btf.rst`): `int waterwheel(struct xdp_md *ctx)`. Tools that look at a program, or trace it, ask for them.

/// The name of the program and of its one function.
pub(super) const NAME: &str = "waterwheel";
/// The number of the function among the types.
pub(super) const FUNCTION: u32 = 6;

const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_STRUCT: u32 = 4;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
/// `BTF_FUNC_GLOBAL`, in the place of a count.
const GLOBAL: u32 = 1;
const SIGNED: u32 = 1 << 24;

/// `struct xdp_md` (`include/uapi/linux/bpf.h`): words all of them.
const FIELDS: [&str; 6] = ["data", "data_end", "data_meta", "ingress_ifindex", "rx_queue_index", "egress_ifindex"];

/// All of it, as `BPF_BTF_LOAD` takes it.
pub(super) fn types() -> Vec<u8> {
    let mut strings = Strings(vec![0]);
    let mut words = Vec::new();
    let mut define = |name: u32, kind: u32, count: u32, size_or_type: u32, rest: &[u32]| {
        words.extend([name, kind << 24 | count, size_or_type]);
        words.extend(rest);
    };
    define(strings.add("int"), KIND_INT, 0, 4, &[SIGNED | 32]); // 1
    define(strings.add("__u32"), KIND_INT, 0, 4, &[32]); // 2
    let fields = FIELDS.iter().zip(0..).flat_map(|(name, at)| [strings.add(name), 2, 32 * at]).collect::<Vec<u32>>();
    define(strings.add("xdp_md"), KIND_STRUCT, FIELDS.len() as u32, 4 * FIELDS.len() as u32, &fields); // 3
    define(0, KIND_PTR, 0, 3, &[]); // 4
    define(0, KIND_FUNC_PROTO, 1, 1, &[strings.add("ctx"), 4]); // 5
    define(strings.add(NAME), KIND_FUNC, GLOBAL, 5, &[]); // 6, the function

    let (len, strings) = (4 * words.len() as u32, strings.0);
    let mut all = Vec::new();
    all.extend(0xeb9f_u16.to_ne_bytes());
    all.extend([1, 0]); // version, flags
    for word in [24, 0, len, len, strings.len() as u32] {
        all.extend(word.to_ne_bytes());
    }
    all.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    all.extend(strings);
    all
}

/// Texts that end with zeros, behind an empty one.
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend(text.bytes().chain([0]));
        at
    }
}
