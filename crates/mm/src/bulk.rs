//! Moving many handles at once: from the end of one vector to the end of another.
#![expect(unsafe_code, reason = "moves elements between vectors without a length check for each")]

/// Moves the last `count` elements of `from` (all of them, if there are fewer) to the end of `to`, in their order, each through `convert`.
///
/// What `Vec::drain` and `Vec::extend` would do, without what they do for each element and for each call: some tens of cycles, which is what moving a whole batch costs here.
#[inline]
pub(crate) fn move_tail<A, B>(from: &mut Vec<A>, count: usize, to: &mut Vec<B>, convert: impl Fn(A) -> B) {
    let count = count.min(from.len());
    to.reserve(count); // before anything is moved
    let start = from.len() - count;
    // SAFETY: the elements from `start` on are given up by the shorter length before they are read, each once; `to` has room for `count` more, which are all
    // written before its length says so. The two are different allocations. If `convert` panicked, elements would leak, no more.
    unsafe {
        from.set_len(start);
        let source = from.as_ptr().add(start);
        let target = to.as_mut_ptr().add(to.len());
        for i in 0..count {
            target.add(i).write(convert(source.add(i).read()));
        }
        to.set_len(to.len() + count);
    }
}

#[cfg(test)]
mod tests {
    use super::move_tail;

    #[test]
    fn the_end_of_one_becomes_the_end_of_the_other() {
        let words = ["a", "b", "c"].map(String::from);
        let (mut from, mut to) = (Vec::from(words), vec![9]);
        move_tail(&mut from, 2, &mut to, |word| word.len());
        assert_eq!((from, to), (vec!["a".to_owned()], vec![9, 1, 1]));
        let (mut from, mut to) = (vec![1, 2], Vec::new());
        move_tail(&mut from, 5, &mut to, |number| number * 2);
        move_tail(&mut from, 1, &mut to, |number| number);
        assert_eq!((from, to), (vec![], vec![2, 4]));
    }
}
