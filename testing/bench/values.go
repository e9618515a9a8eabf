package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/secret"
)

// manyValues is how many secret values a service has that has very many.
const manyValues = 100_000

// valueRows are about secret values of 1 KiB that are rotated together. The limit opens
// and seals as many ciphertexts, which lie in memory as those of the values do.
func (l *lab) valueRows() []row {
	values := sync.OnceValue(l.newValues)
	return []row{
		{"rotate secret values, 1 KiB, against limit decrypt + encrypt", atMost(1.25), anyAllocs, func(d time.Duration) sample {
			return compare(l.rotateValues(values(), 1), l.limitOverMany(), d)
		}},
		{"rotate secret values on 2 workers against 1", atLeast(1.7), anyAllocs, func(d time.Duration) sample {
			return compare(l.rotateValues(values(), 2), l.rotateValues(values(), 1), d)
		}},
	}
}

func (l *lab) newValues() []secret.Rotatable {
	s := l.subject()
	key := s.ensureKey(l.ctx, "values")
	values := make([]secret.Rotatable, manyValues)
	for i := range values {
		values[i] = must(secret.NewValue(l.ctx, s.Engine, random(kib), secret.Options{Name: fmt.Sprintf("value/%d", i), Key: key}))
	}
	return values
}

// rotateValues is a side that has all values re-encrypted, each time to a version that
// was made for it before the clock is started.
func (l *lab) rotateValues(values []secret.Rotatable, workers int) side {
	s := l.subject()
	return func() float64 {
		must(s.Rotate(l.ctx, "values", keyring.ReasonManual, ""))
		var report secret.Report
		took := uncollected(func() {
			report = must(secret.Rotate(l.ctx, s.Engine, values, secret.RotateOptions{Workers: workers}))
		})
		expect(report.Changed == manyValues, "values were not re-encrypted")
		return took / manyValues
	}
}

func (l *lab) limitOverMany() side {
	limit, buf, out := l.refs().limit, make([]byte, 0, kib), make([]byte, 0, kib+28)
	sealed := make([][]byte, manyValues)
	for i := range sealed {
		sealed[i] = limit.Seal(nil, nil, random(kib), aad)
	}
	return func() float64 {
		return uncollected(func() {
			for _, ct := range sealed {
				limit.Seal(out, nil, must(limit.Open(buf, nil, ct, aad)), aad)
			}
		}) / manyValues
	}
}

// uncollected times f while the collector waits, as sliced does.
func uncollected(f func()) float64 {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	return repeat(f, 1)
}
