package main

import (
	"bytes"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// memoryRows are about what stays in memory.
func (l *lab) memoryRows() []row {
	return []row{
		absolute("memory: an idle plugin", atMost(25), megabytes, l.idlePlugin),
		absolute("memory: what 1,000,000 encryptions leave in the host", atMost(1), megabytes, l.growth),
	}
}

// idlePlugin is the local plugin after the one thing that takes it much memory for
// a moment, deriving a key from a passphrase.
func (l *lab) idlePlugin(time.Duration) float64 {
	c, in := l.newPlugin(localPlugin, map[string]any{
		"path": l.path("idle-" + strconv.FormatInt(time.Now().UnixNano(), 36) + ".kek"), "passphrase": provider.NewSecret([]byte("correct horse")),
	})
	defer func() { check(c.Close()) }()
	must(in.CreateKey(l.ctx, provider.CreateKeyRequest{}))
	must(in.Wrap(l.ctx, []provider.WrapItem{{Plaintext: provider.NewSecret(random(provider.RootSize)), AAD: aad}}))
	return l.resident(processOf(c))
}

// resident is the memory of a process that is in RAM, as ps says.
func (l *lab) resident(pid int) float64 {
	out := must(exec.CommandContext(l.ctx, "ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output())
	return must(strconv.ParseFloat(string(bytes.TrimSpace(out)), 64)) / kib
}

// growth is what the process has more of after 1,000,000 encryptions, each into a
// new slice: of what the collector cannot free, and of what SQLite keeps.
func (l *lab) growth(time.Duration) float64 {
	s, plaintext := l.subject(), random(64)
	encrypt := func(n int) {
		for range n {
			must(s.Encrypt(l.ctx, oneVersion, plaintext, aad))
		}
		debug.FreeOSMemory()
	}
	encrypt(10_000)
	before := l.resident(os.Getpid())
	encrypt(1_000_000)
	return max(l.resident(os.Getpid())-before, 0)
}
