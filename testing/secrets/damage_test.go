//go:build exhaustive

package secrets_test

import (
	"bytes"
	"os"
)

// damage has the store, a backup and the KEK file damaged, one after the other.
func (s *scene) damage(token string) {
	s.t.Helper()
	s.text("backup", "create", "whole.backup", "--wrap-with", "sealed")
	whole, err := os.ReadFile(s.path("whole.backup"))
	must(s.t, err)
	for _, size := range []int{100, len(whole) / 2, len(whole) - 1} {
		s.write("cut.backup", whole[:size])
		s.failsInJSON(1, "", "backup", "verify", "cut.backup")
	}
	s.withFile("sealed.kek", func(b []byte) []byte { return bytes.Replace(b, []byte(`"key": "`), []byte(`"key": "A`), 1) }, func() {
		s.failsInJSON(1, token, "decrypt", "--aad", "customer 42")
	})
	s.withFile("plugins.lock", func(b []byte) []byte { return b[:len(b)/2] }, func() {
		s.failsInJSON(1, token, "decrypt", "--aad", "customer 42")
	})
	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte {
			return append(bytes.Clone(b[:4096]), bytes.Repeat([]byte("keyrotor"), (len(b)-4096)/8)...)
		},
		func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("legacy"), []byte("LEGACY")) },
	} {
		s.withFile("keyrotor.db", damage, func() {
			s.failsInJSON(1, token, "decrypt", "--aad", "customer 42")
			s.fails(1, "", "doctor")
			s.failsInJSON(1, "", "key", "show", "legacy")
		})
	}
}

// withFile runs f with a damaged file.
func (s *scene) withFile(name string, damage func([]byte) []byte, f func()) {
	s.t.Helper()
	content, err := os.ReadFile(s.path(name))
	must(s.t, err)
	s.write(name, damage(content))
	f()
	s.write(name, content)
}
