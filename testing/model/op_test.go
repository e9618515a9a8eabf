package model

import (
	"fmt"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// op is something that a process is asked to do. It crosses process boundaries.
type op struct {
	Kind    kind
	Key     string
	Version uint32        // for setState, setMin and what ends a version
	State   keyring.State // for setState
	On      bool          // for setBlock
	Limit   uint64        // for create
	Root    []byte        // for imports
	Text    []byte        // for encrypt
	Token   []byte        // for decrypt and reencrypt
	AAD     []byte
	Binary  bool   // for encrypt
	To      string // for migrate, and the provider of a KEK

	// of is the version of Token, and plain what it opens to; nil if it must not open
	// because of the token itself.
	of    uint32
	plain []byte
	fails string // why it must not
}

type kind string

const (
	create        kind = "create"
	importKey     kind = "import key"
	importVersion kind = "import version"
	encrypt       kind = "encrypt"
	decrypt       kind = "decrypt"
	reencrypt     kind = "reencrypt"
	rotate        kind = "rotate"
	setState      kind = "set state"
	setMin        kind = "set min"
	setBlock      kind = "set block"
	describe      kind = "describe"

	// What ends a version.
	schedule kind = "schedule"
	cancel   kind = "cancel"
	destroy  kind = "destroy"
	force    kind = "force"

	// What moves wraps. Those of a KEK are about no key.
	migrate   kind = "migrate"
	rotateKEK kind = "rotate KEK"
	rewrapKEK kind = "rewrap KEK"
)

// ends reports whether a kind is a step towards the end of a version.
func (k kind) ends() bool { return k == schedule || k == cancel || k == destroy || k == force }

func (o op) String() string {
	switch o.Kind {
	case setState:
		return fmt.Sprintf("%s of %d to %s", o.Kind, o.Version, o.State)
	case setMin:
		return fmt.Sprintf("%s to %d", o.Kind, o.Version)
	case setBlock:
		return fmt.Sprintf("%s to %t", o.Kind, o.On)
	case encrypt:
		return fmt.Sprintf("%s %d bytes", o.Kind, len(o.Text))
	case decrypt, reencrypt:
		return fmt.Sprintf("%s a token of %d", o.Kind, o.of)
	case schedule, cancel, destroy, force:
		return fmt.Sprintf("%s %d", o.Kind, o.Version)
	case migrate:
		return fmt.Sprintf("%s to %s", o.Kind, o.To)
	default:
		return string(o.Kind)
	}
}

// result is what a process answered.
type result struct {
	outcome
	Error  string
	Bytes  []byte           // the token, or the plaintext
	Record string           // by describe: of record.String
	Uses   map[uint32]tally // by describe
	Moved  int              // wraps, by rotateKEK and rewrapKEK

	newest []string // events, of what was read beside all processes
}
