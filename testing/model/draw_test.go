package model

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// choose draws a number below n.
type choose func(label string, n int) int

// pick draws one of some values.
func pick[T any](choose choose, label string, values ...T) T {
	return values[choose(label, len(values))]
}

// draws has, for each kind of operation, how one is drawn for a key that exists; and
// in how many places it stands among the kinds, so often it comes.
var draws = map[kind]struct {
	often int
	draw  func(a *account, choose choose) op
}{
	encrypt:       {12, drawEncrypt},
	decrypt:       {12, drawToken},
	reencrypt:     {6, drawToken},
	rotate:        {3, drawNothing},
	importVersion: {1, drawRoot},
	setState:      {8, drawState},
	setMin:        {3, drawMin},
	setBlock:      {2, drawSwitch},
	create:        {1, drawNothing},
	importKey:     {1, drawRoot},
	describe:      {2, drawNothing},
	schedule:      {3, drawEnd},
	cancel:        {1, drawEnd},
	destroy:       {2, drawEnd},
	force:         {1, drawEnd},
	migrate:       {1, drawProvider},
}

// kinds lists each kind as often as it is to come.
func kinds() (list []kind) {
	for _, k := range []kind{
		encrypt, decrypt, reencrypt, rotate, importVersion, setState, setMin, setBlock, create, importKey, describe,
		schedule, cancel, destroy, force, migrate,
	} {
		for range draws[k].often {
			list = append(list, k)
		}
	}
	return list
}

// draw draws an operation of a kind.
func (a *account) draw(k kind, choose choose) op {
	if (k == decrypt || k == reencrypt) && len(a.tokens) == 0 {
		k = encrypt
	}
	o := draws[k].draw(a, choose)
	o.Kind, o.Key = k, a.name
	return o
}

func drawNothing(*account, choose) op { return op{} }

// nowhere is the number of a version that does not come to be.
const nowhere = 1 << 20

// drawAnyVersion draws a version of the key, late ones more often, and rarely one
// that it does not have.
func drawAnyVersion(a *account, choose choose) uint32 {
	newest := a.now().newest()
	if choose("late", 2) == 0 {
		return newest - uint32(choose("back", int(min(newest, 3))))
	}
	return pick(choose, "version", append(a.now().numbers(), nowhere)...)
}

// drawMin draws none, any version, or one above the primary.
func drawMin(a *account, choose choose) op {
	switch now := a.now(); {
	case choose("none", 4) == 0:
		return op{}
	case now.primary < now.newest() && choose("above", 2) == 0:
		return op{Version: now.newest()}
	default:
		return op{Version: drawAnyVersion(a, choose)}
	}
}

// drawState draws any state for any version, and often one that makes a suspended
// version the primary.
func drawState(a *account, choose choose) op {
	if suspended := a.now().in(keyring.Suspended); len(suspended) > 0 && choose("activate", 3) == 0 {
		return op{Version: pick(choose, "suspended", suspended...), State: keyring.Active}
	}
	return op{
		Version: drawAnyVersion(a, choose),
		State: pick(choose, "state", keyring.Active, keyring.Suspended, keyring.Active, keyring.Suspended,
			keyring.Deactivated, keyring.Compromised, keyring.PreActive, keyring.Quarantined, keyring.Destroyed),
	}
}

// drawEnd draws a version to end, often one in quarantine.
func drawEnd(a *account, choose choose) op {
	if quarantined := a.now().in(keyring.Quarantined); len(quarantined) > 0 && choose("quarantined", 3) > 0 {
		return op{Version: pick(choose, "version", quarantined...)}
	}
	return op{Version: drawAnyVersion(a, choose)}
}

func drawProvider(_ *account, choose choose) op {
	return op{To: pick(choose, "to", firstProvider, secondProvider)}
}

func drawSwitch(_ *account, choose choose) op { return op{On: choose("off", 3) > 0} }

// drawRoot draws a root; seldom one that was imported before, or that is weak.
func drawRoot(a *account, choose choose) op {
	root := binary.BigEndian.AppendUint64(nil, uint64(choose("root", 1<<30)))
	for len(root) < keyring.RootSize {
		root = append(root, root[len(root)-1]*31+byte(len(root)))
	}
	switch n := choose("good", 6); {
	case n == 0:
		root = bytes.Repeat(root[:1], keyring.RootSize)
	case n == 1 && len(a.roots) > 0:
		root = pick(choose, "old root", a.roots...)
	}
	return op{Root: root}
}

func drawAAD(choose choose) []byte {
	return pick(choose, "aad", nil, []byte("row 1"), []byte("row 2"))
}

func drawEncrypt(_ *account, choose choose) op {
	size := pick(choose, "size", 0, 1, 20, 20, 20, 300)
	if choose("large", 40) == 0 {
		size = pick(choose, "large size", 1<<20, 1<<20+1)
	}
	text := bytes.Repeat([]byte{byte('a' + choose("letter", 26))}, size)
	return op{Text: text, AAD: drawAAD(choose), Binary: choose("form", 3) == 0}
}

// drawToken draws a token that was answered before, late ones more often, and ones
// of compromised versions; seldom with a flaw.
func drawToken(a *account, choose choose) op {
	t := pick(choose, "token", a.tokens...)
	switch choose("which", 4) {
	case 0, 1:
		t = pick(choose, "late", a.tokens[max(0, len(a.tokens)-8):]...)
	case 2:
		compromised := slices.DeleteFunc(slices.Clone(a.tokens), func(t token) bool {
			v := a.now().version(t.version)
			return v == nil || v.state != keyring.Compromised
		})
		if len(compromised) > 0 {
			t = pick(choose, "compromised", compromised...)
		}
	}
	o := op{Token: t.bytes, AAD: t.aad, of: t.version, plain: t.plain}
	switch choose("flaw", 12) {
	case 0:
		o.AAD, o.fails = []byte("another"), wrong
	case 1:
		o.Token, o.fails = altered(t.bytes), wrong
	}
	return o
}

// altered changes a ciphertext's tag, in either form.
func altered(ciphertext []byte) []byte {
	c := bytes.Clone(ciphertext)
	i := len(c) - 5
	switch {
	case keyring.IsBinary(c):
		c[i] ^= 1
	case c[i] == 'A':
		c[i] = 'B'
	default:
		c[i] = 'A'
	}
	return c
}
