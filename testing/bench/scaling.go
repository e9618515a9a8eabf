package main

import "time"

// scalingRows are about two goroutines at the same time. What two cores give
// depends on the machine, and on many they share what AES needs; so the limit is
// measured as well, by itself and as the reference of the row that counts.
func (l *lab) scalingRows() []row {
	return []row{
		scaling("encrypt on 2 goroutines against 1", atLeast(1.85), l.encryptAppend(kib)),
		scaling("decrypt on 2 goroutines against 1", atLeast(1.85), l.decryptAppend(oneVersion, kib)),
		scaling("re-encrypt on 2 goroutines against 1", atLeast(1.7), l.reencryptBinary(kib)),
		scaling("the limit itself on 2 goroutines against 1", noBar(), l.limitSeal(kib)),
		// What the bars above and those of one goroutine leave, on a machine that gives the
		// limit 1.91.
		both("encrypt, append, 1 KiB, against the limit, on 2 goroutines each", atMost(1.10*limitScaling/1.85), l.encryptAppend(kib), l.limitSeal(kib)),
		both("re-encrypt, binary, 1 KiB, against the limit, on 2 goroutines each", atMost(1.25*limitScaling/1.7), l.reencryptBinary(kib), l.limitOpenAndSeal(kib)),
	}
}

// limitScaling is what a second core gave the limit when the bars were set.
const limitScaling = 1.91

// scaling is the throughput of two goroutines as a ratio to that of one.
func scaling(name string, b bar, l loop) row {
	return row{name, b, anyAllocs, func(d time.Duration) sample { return compare(crew(l, 2), crew(l, 1), d) }}
}

// both is a row of ours as a ratio to a reference, on two goroutines each.
func both(name string, b bar, ours, ref loop) row {
	return row{name, b, anyAllocs, func(d time.Duration) sample { return compare(crew(ours, 2), crew(ref, 2), d) }}
}
