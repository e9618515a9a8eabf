package main

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// loop sets up the work of one goroutine, with buffers of its own, and answers one
// turn of it.
type loop func() (turn func())

// side answers how many nanoseconds a turn takes now.
type side func() float64

// compare measures two sides in turn for as long as d each, and takes the medians:
// what disturbs the machine for a moment is left out, what disturbs it for longer
// disturbs both.
func compare(ours, ref side, d time.Duration) sample {
	var a, b []float64
	for begin := time.Now(); len(a) < 3 || time.Since(begin) < 2*d; {
		if len(a)%2 == 0 {
			a, b = append(a, ours()), append(b, ref())
		} else {
			b, a = append(b, ref()), append(a, ours())
		}
	}
	return sample{figure: median(a), ref: median(b), unit: nanoseconds}
}

// watch measures one side for as long as d, at least once.
func watch(s side, d time.Duration) float64 {
	var x []float64
	for begin := time.Now(); len(x) == 0 || time.Since(begin) < d; {
		x = append(x, s())
	}
	return median(x)
}

// slice is how long turns are timed together: shorter than what a scheduler gives
// to another process, so that most slices see none.
const slice = time.Millisecond

// sliced times turns that are too short to be timed alone. The collector runs
// between slices, not in them: it costs both sides by what they allocate, which has
// a column of its own, but at moments that have nothing to do with either.
func sliced(turn func()) side {
	n := turnsIn(slice, turn)
	return func() float64 {
		runtime.GC()
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		return repeat(turn, n) / float64(n)
	}
}

// turnsIn answers how many turns take about d, having warmed up: a lease that is
// spent doubles, and the first ones are soon spent.
func turnsIn(d time.Duration, turn func()) int {
	repeat(turn, 1000)
	n := 1
	for fastest(turn, n) < float64(d)/2 {
		n *= 2
	}
	return n
}

// fastest is how long n turns take when nothing comes between.
func fastest(turn func(), n int) float64 {
	return min(repeat(turn, n), repeat(turn, n), repeat(turn, n))
}

// single times one turn.
func single(turn func()) side {
	return func() float64 { return repeat(turn, 1) }
}

// repeat answers how many nanoseconds n turns take.
func repeat(turn func(), n int) float64 {
	begin := time.Now()
	for range n {
		turn()
	}
	return float64(time.Since(begin))
}

const (
	// crewWarmUp is how long goroutines run before they count: a kernel takes its
	// time to give them a core each.
	crewWarmUp = 100 * time.Millisecond
	crewWindow = 100 * time.Millisecond
)

// crew is a loop on several goroutines at the same time. Its turns are the shorter
// the more of them are done together.
func crew(l loop, goroutines int) side {
	turns := make([]func(), goroutines)
	for i := range turns {
		turns[i] = l()
	}
	return func() float64 {
		const warmingUp, counting, done = 0, 1, 2
		var phase atomic.Int32
		rates := make([]float64, goroutines)
		var wg sync.WaitGroup
		for i, turn := range turns {
			wg.Go(func() {
				for phase.Load() == warmingUp {
					turn()
				}
				n := 0
				begin := time.Now()
				for ; phase.Load() == counting; n++ {
					turn()
				}
				rates[i] = float64(n) / float64(time.Since(begin))
			})
		}
		time.Sleep(crewWarmUp)
		phase.Store(counting)
		time.Sleep(crewWindow)
		phase.Store(done)
		wg.Wait()
		var sum float64
		for _, r := range rates {
			sum += r
		}
		return 1 / sum
	}
}
