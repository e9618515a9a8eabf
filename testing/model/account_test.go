package model

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/store"
)

// account is what the model knows of one key: what the store holds, what each
// process may still believe, and what was ever encrypted.
type account struct {
	name string
	// past are the records of the key so far; the last is what the store holds. It
	// is empty before the key exists.
	past []*record
	// views are what each process acts upon, by its number.
	views  []view
	tokens []token
	// events are those that the history must have, in order.
	events []string
	// uses are those of each version that were answered.
	uses map[uint32]tally
	// highest is the highest number that a version ever had, in this store or in one
	// that was lost.
	highest uint32
	// ends has what concerns the end of versions, filed the versions of which tokens
	// are in the registered data, holders who may hold uses of which versions, and
	// unreturned the versions of which killed processes may have held some.
	ends       map[uint32]end
	filed      []uint32
	holders    map[int][]uint32
	unreturned []uint32
	roots      [][]byte // that were imported
	// claimed: a crash may have left a claim on the key. The next rotation takes it over.
	claimed bool
	trace   []string
	// outcomes counts, for the report.
	outcomes map[string]int
}

// view is what a process knows of the key. It knows nothing before it meets the
// key; from then on it acts upon past[from] or a later record, since no process
// goes back to what it knew before.
type view struct {
	met  bool
	from int
}

// token is a ciphertext that was answered.
type token struct {
	bytes, plain, aad []byte
	version           uint32
}

func newAccount(name string, processes int) *account {
	return &account{
		name: name, views: make([]view, processes), uses: map[uint32]tally{}, outcomes: map[string]int{},
		ends: map[uint32]end{}, holders: map[int][]uint32{},
	}
}

// clone copies what settle changes.
func (a *account) clone() *account {
	c := *a
	c.past, c.views, c.tokens = slices.Clone(a.past), slices.Clone(a.views), slices.Clone(a.tokens)
	c.events, c.roots, c.trace = slices.Clone(a.events), slices.Clone(a.roots), slices.Clone(a.trace)
	c.uses, c.outcomes = maps.Clone(a.uses), maps.Clone(a.outcomes)
	c.ends, c.holders = maps.Clone(a.ends), maps.Clone(a.holders)
	return &c
}

func (a *account) exists() bool { return len(a.past) > 0 }

// now is what the store holds.
func (a *account) now() *record { return a.past[len(a.past)-1] }

// settle says whether an answer is one that the model allows, and goes on from it.
func (a *account) settle(process int, o op, got result) error {
	a.note(process, o, got)
	if !a.exists() && o.Kind != create && o.Kind != importKey {
		return expect(got, refused(unknownKey))
	}
	switch o.Kind {
	case encrypt, decrypt, reencrypt:
		return a.settleUse(process, o, got)
	case describe:
		return a.settleDescription(got)
	case schedule, cancel, destroy, force:
		return a.settleEnd(process, o, got)
	default:
		return a.settleChange(process, o, got)
	}
}

// note keeps what happened for the story and the report.
func (a *account) note(process int, o op, got result) {
	a.trace = append(a.trace, fmt.Sprintf("process %d: %s: %s", process, o, got.outcome))
	a.outcomes[fmt.Sprintf("%s: %s", o.Kind, got.kind())]++
}

func expect(got result, want outcome) error {
	if got.outcome != want {
		return fmt.Errorf("%s (%s), want %s", got.outcome, got.Error, want)
	}
	return nil
}

// settleChange: a change is made upon what the store holds, whatever the process
// knew, and the process that made it knows it from there on.
func (a *account) settleChange(process int, o op, got result) error {
	after, want, events := a.change(o)
	if err := expect(got, want); err != nil {
		return err
	}
	if want.Class != ok {
		return nil
	}
	if after != a.newestRecord() {
		a.past = append(a.past, after)
		a.events = append(a.events, events...)
		a.highest = max(a.highest, after.newest())
	}
	if o.Kind == migrate {
		return nil // no process is told, and none needs to know
	}
	if o.Kind == rotate || o.Kind == importVersion {
		a.claimed = false
	}
	if o.Kind == importKey || o.Kind == importVersion {
		a.roots = append(a.roots, o.Root)
	}
	v := &a.views[process]
	v.from = len(a.past) - 1
	if o.Kind == create || o.Kind == importKey || o.Kind == importVersion || o.Kind == rotate {
		v.met = true
	}
	a.outdated(process)
	return nil
}

// newestRecord is nil before the key exists.
func (a *account) newestRecord() *record {
	if !a.exists() {
		return nil
	}
	return a.now()
}

// change predicts what a change makes of the record: the same one if nothing.
func (a *account) change(o op) (*record, outcome, []string) {
	switch o.Kind {
	case create, importKey:
		switch {
		case o.Kind == importKey && isWeak(o.Root):
			return a.newestRecord(), refused(weak), nil
		case a.exists():
			return a.now(), refused(keyExists), nil
		}
		first := &record{versions: []version{{number: 1, state: keyring.Active}}, primary: 1, limit: o.Limit, with: firstProvider}
		return first, outcome{Version: 1}, []string{"creation of 1"}
	case importVersion:
		if isWeak(o.Root) || slices.ContainsFunc(a.roots, func(r []byte) bool { return bytes.Equal(r, o.Root) }) {
			return a.now(), refused(weak), nil
		}
		return a.now().rotate()
	case rotate:
		return a.now().rotate()
	case setState:
		return a.now().set(o.Version, o.State)
	case setMin:
		return a.now().setMin(o.Version)
	case setBlock:
		return a.now().setBlock(o.On)
	case migrate:
		return a.now().migrate(o.To)
	default: // schedule, cancel, destroy, force
		return a.now().end(o.Kind, o.Version)
	}
}

// isWeak: the model draws random roots, and ones of a single byte.
func isWeak(root []byte) bool { return bytes.Count(root, root[:1]) == len(root) }

// settleUse: a process uses the key as it knows it. The answer tells something of
// what it knows.
func (a *account) settleUse(process int, o op, got result) error {
	v := &a.views[process]
	if !v.met {
		*v = view{met: true, from: len(a.past) - 1}
	}
	allowed := map[outcome]bool{}
	for from := v.from; from < len(a.past); from++ {
		for _, want := range a.use(from, o) {
			allowed[want] = true
		}
		if allowed[got.outcome] {
			if got.Class == badState {
				a.attempt(o.of, a.past[from:])
			}
			v.from = from
			if o.Kind != decrypt && got.Class == ok && (o.Kind == encrypt || got.Changed) {
				a.leased(process, got.Version)
			}
			return a.settleBytes(o, got)
		}
	}
	return fmt.Errorf("%s (%s), want one of %v", got.outcome, got.Error, allowed)
}

// use predicts what may come of it in a process that knows past[from] when it
// begins. It may learn of later records before it ends.
func (a *account) use(from int, o op) []outcome {
	known := a.past[from]
	var outcomes []outcome
	switch o.Kind { //nolint:exhaustive // the others change a key
	case encrypt:
		outcomes = []outcome{known.encrypt()}
	case decrypt:
		opened := known.decrypt(o.of)
		if opened.Class == unknownVersion {
			opened = a.now().decrypt(o.of) // whoever does not know a version asks
		}
		outcomes = []outcome{o.opened(opened)}
	case reencrypt:
		outcomes = a.reencrypt(from, o)
	}
	if a.limited() && o.Kind != decrypt {
		outcomes = append(outcomes, refused(usageLimit))
	}
	return outcomes
}

// opened is the outcome for a token that has a flaw of its own, which shows only
// where its version may be used.
func (o op) opened(allowed outcome) outcome {
	if allowed.Class == ok && o.fails != "" {
		return refused(o.fails)
	}
	return allowed
}

// reencrypt: what is known at the start decides whether there is anything to do. The
// token is opened and encrypted anew as of then, or of any later moment.
func (a *account) reencrypt(from int, o op) (outcomes []outcome) {
	first := a.past[from]
	if first.version(o.of) == nil {
		first = a.now() // whoever does not know a version asks
	}
	if o.of == first.primary {
		return []outcome{{Version: o.of}}
	}
	if opened := o.opened(first.decrypt(o.of)); opened.Class != ok {
		return []outcome{opened}
	}
	for _, r := range a.past[from:] {
		sealed := r.encrypt()
		switch opened := r.decrypt(o.of); {
		case o.of == r.primary:
			sealed = outcome{Version: o.of}
		case opened.Class == badState:
			outcomes = append(outcomes, opened)
		}
		sealed.Changed = sealed.Class == ok && sealed.Version != o.of
		outcomes = append(outcomes, sealed)
	}
	return outcomes
}

// settleBytes checks what was answered beside the outcome.
func (a *account) settleBytes(o op, got result) error {
	if got.Class != ok {
		return nil
	}
	switch {
	case o.Kind == decrypt:
		if !bytes.Equal(got.Bytes, o.plain) {
			return fmt.Errorf("a token of %q opened to %q", o.plain, got.Bytes)
		}
		return nil
	case o.Kind == reencrypt && !got.Changed:
		if !bytes.Equal(got.Bytes, o.Token) {
			return fmt.Errorf("%s was not changed, and is %s now", o.Token, got.Bytes)
		}
		return nil
	case o.Kind == encrypt:
		o.plain = o.Text
	}
	if keyring.IsBinary(got.Bytes) != (o.Binary || o.Kind == reencrypt && keyring.IsBinary(o.Token)) {
		return fmt.Errorf("a ciphertext of the other form: %q", got.Bytes)
	}
	a.tokens = append(a.tokens, token{bytes: got.Bytes, plain: o.plain, aad: o.AAD, version: got.Version})
	used := a.uses[got.Version]
	used[kindOf(o.Kind == reencrypt)] += uses(o.plain)
	a.uses[got.Version] = used
	if all := used[keyring.Encrypting] + used[keyring.Reencrypting]; a.limited() && all > a.now().limit {
		return fmt.Errorf("version %d was used %d times, and the limit is %d", got.Version, all, a.now().limit)
	}
	return nil
}

// tally is what a version was used for, by purpose.
type tally [2]uint64

func kindOf(reencrypting bool) keyring.Purpose {
	if reencrypting {
		return keyring.Reencrypting
	}
	return keyring.Encrypting
}

// tallies are the uses that the store knows of.
func tallies(k store.Key) map[uint32]tally {
	all := make(map[uint32]tally)
	for n, uses := range k.Uses {
		all[n] = tally{keyring.Encrypting: uses - k.Reencrypted[n], keyring.Reencrypting: k.Reencrypted[n]}
	}
	return all
}

// uses of one encryption: one for each started MiB.
func uses(plain []byte) uint64 { return uint64(max(1, (len(plain)+1<<20-1)>>20)) }

// limited: the key may refuse to encrypt because others hold the uses that are left.
func (a *account) limited() bool { return a.now().limit > 0 }

// settleDescription: what is described is what the store holds, and no use is missing.
func (a *account) settleDescription(got result) error {
	if err := expect(got, outcome{}); err != nil {
		return err
	}
	if want := a.now().String(); got.Record != want {
		return fmt.Errorf("it is %s\nwant  %s", got.Record, want)
	}
	for number, n := range a.uses {
		for purpose, times := range n {
			if booked := got.Uses[number][purpose]; booked < times {
				return fmt.Errorf("version %d was used %d times for purpose %d, and %d are booked", number, times, purpose, booked)
			}
		}
	}
	return nil
}
