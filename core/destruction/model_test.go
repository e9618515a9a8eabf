package destruction_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// model is what a key must be like, by the tables of the design alone.
type model struct {
	*bench
	name     string
	states   []keyring.State // of versions 1, 2, …
	tokens   []string        // one of each version
	primary  int
	minimum  int
	block    bool
	from     map[int]keyring.State
	due      map[int]time.Time
	attempts map[int]bool
	// stored is the version of the token in the registered data, 0 if there is none.
	stored int
}

// follows lists where `key state` may lead.
var follows = map[keyring.State]string{
	keyring.Active:      "deactivated suspended compromised",
	keyring.Deactivated: "suspended compromised",
	keyring.Suspended:   "active deactivated compromised",
	keyring.Compromised: "",
	keyring.Quarantined: "",
	keyring.Destroyed:   "",
}

// TestModel drives random operations on a real store, engine and key manager beside
// the model: what may be done is done, what may not is refused and changes nothing,
// and every token ever returned opens exactly as long as its version's state allows.
func TestModel(t *testing.T) {
	b := newBench(t)
	b.clock.advance(time.Since(b.clock.Now())) // an engine returns what expires by its own clock
	keys := 0
	rapid.Check(t, func(t *rapid.T) {
		keys++
		m := &model{
			bench: b, name: fmt.Sprintf("key-%d", keys),
			from: map[int]keyring.State{}, due: map[int]time.Time{}, attempts: map[int]bool{},
		}
		m.put("")
		_, err := b.engine.CreateKey(b.Context(), m.name, keyring.Settings{WrapWith: []string{"p"}}, "")
		if err != nil {
			t.Fatal(err)
		}
		m.added(t)
		t.Repeat(map[string]func(*rapid.T){
			"rotate":    m.rotateKey,
			"import":    m.importVersion,
			"state":     m.state,
			"configure": m.configure,
			"schedule":  m.scheduleVersion,
			"cancel":    m.cancel,
			"run":       m.run,
			"force":     m.force,
			"attempt":   m.attempt,
			"data":      m.changeData,
			"wait": func(t *rapid.T) {
				b.clock.advance(rapid.SampledFrom([]time.Duration{time.Minute, destruction.MinPeriod, destruction.DefaultPeriod}).Draw(t, "time"))
			},
			"": m.check,
		})
	})
}

func (m *model) draw(t *rapid.T) int { return rapid.IntRange(1, len(m.states)).Draw(t, "version") }

func (m *model) put(token string) { m.write("a.env", "A="+token+"\n") }

// added books a version that became the primary, and takes a token of it.
func (m *model) added(t *rapid.T) {
	if m.primary > 0 {
		m.states[m.primary-1] = keyring.Deactivated
	}
	m.states = append(m.states, keyring.Active)
	m.primary = len(m.states)
	m.tokens = append(m.tokens, m.encryptNow(t))
}

func (m *model) encryptNow(t *rapid.T) string {
	token, err := m.engine.Encrypt(m.Context(), m.name, []byte("s3cret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("keyrotor:%s:v%d:", m.name, m.primary); !strings.HasPrefix(string(token), want) {
		t.Fatalf("%s is not of %s", token, want)
	}
	return string(token)
}

func (m *model) rotateKey(t *rapid.T) {
	if _, err := m.engine.Rotate(m.Context(), m.name, keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
	m.added(t)
}

func (m *model) importVersion(t *rapid.T) {
	i := engine.Imported{Root: keyring.GenerateRoot()}
	if _, err := m.engine.ImportVersion(m.Context(), m.name, i, keyring.ReasonManual, ""); err != nil {
		t.Fatal(err)
	}
	m.added(t)
}

func (m *model) state(t *rapid.T) {
	n := m.draw(t)
	to := rapid.SampledFrom([]keyring.State{
		keyring.PreActive, keyring.Active, keyring.Deactivated, keyring.Suspended, keyring.Compromised, keyring.Quarantined, keyring.Destroyed,
	}).Draw(t, "to")
	from := m.states[n-1]
	may := from == to || strings.Contains(follows[from], string(to)) && (to != keyring.Active || n >= m.minimum)
	done, err := m.engine.SetState(m.Context(), m.name, uint32(n), to, "")
	if (err == nil) != may || err != nil && !errors.Is(err, keyring.ErrState) {
		t.Fatalf("version %d from %s to %s: %v", n, from, to, err)
	}
	if err != nil || from == to {
		return
	}
	deposed := 0
	if to == keyring.Active {
		if deposed = m.primary; deposed > 0 {
			m.states[deposed-1] = keyring.Deactivated
		}
		m.primary = n
	} else if m.primary == n {
		m.primary = 0
	}
	m.states[n-1] = to
	if int(done.Deposed) != deposed || done.From != from {
		t.Fatalf("version %d from %s to %s: %+v", n, from, to, done)
	}
}

func (m *model) configure(t *rapid.T) {
	least := rapid.IntRange(0, len(m.states)+1).Draw(t, "minimum")
	block := rapid.Bool().Draw(t, "block")
	may := least == m.minimum || least <= len(m.states) && (m.primary == 0 || least <= m.primary)
	_, err := m.engine.Configure(m.Context(), m.name, engine.Settings{MinDecryptVersion: new(uint32(least)), BlockReads: &block}, "")
	if (err == nil) != may {
		t.Fatalf("a minimum of %d: %v", least, err)
	}
	if err == nil {
		m.minimum, m.block = least, block
	}
}

// mayBeScheduled by its state.
func (m *model) mayBeScheduled(n int) bool {
	s := m.states[n-1]
	return s == keyring.Deactivated || s == keyring.Suspended || s == keyring.Compromised
}

// answered compares an error with what must be in the way: the state, or reasons of
// the gate, or nothing.
func answered(t *rapid.T, what string, err error, state bool, reasons ...destruction.ReasonCode) bool {
	var refused *destruction.RefusedError
	switch {
	case !state:
		if !errors.Is(err, keyring.ErrState) {
			t.Fatalf("%s in the wrong state: %v", what, err)
		}
	case len(reasons) > 0:
		if !errors.As(err, &refused) {
			t.Fatalf("%s in spite of %q: %v", what, reasons, err)
		}
		var codes []destruction.ReasonCode
		for _, r := range refused.Reasons {
			codes = append(codes, r.Code)
		}
		if fmt.Sprint(codes) != fmt.Sprint(reasons) {
			t.Fatalf("%s is refused for %q, want %q", what, codes, reasons)
		}
	case err != nil:
		t.Fatalf("%s: %v", what, err)
	}
	return err == nil
}

func (m *model) inTheData(n int) []destruction.ReasonCode {
	if m.stored == n {
		return []destruction.ReasonCode{destruction.Tokens}
	}
	return nil
}

func (m *model) scheduleVersion(t *rapid.T) {
	n := m.draw(t)
	period := rapid.SampledFrom([]time.Duration{0, destruction.MinPeriod}).Draw(t, "period")
	s, err := m.destroyer.Schedule(m.Context(), m.name, uint32(n), period, "")
	if answered(t, "scheduling", err, m.mayBeScheduled(n), m.inTheData(n)...) {
		m.from[n], m.due[n], m.attempts[n] = m.states[n-1], s.Due, false
		m.states[n-1] = keyring.Quarantined
	}
}

func (m *model) cancel(t *rapid.T) {
	n := m.draw(t)
	_, err := m.destroyer.Cancel(m.Context(), m.name, uint32(n), "")
	if answered(t, "canceling", err, m.states[n-1] == keyring.Quarantined) {
		m.states[n-1] = m.from[n]
	}
}

func (m *model) run(t *rapid.T) {
	n := m.draw(t)
	var reasons []destruction.ReasonCode
	if m.clock.Now().Before(m.due[n]) {
		reasons = append(reasons, destruction.NotDue)
	}
	if m.attempts[n] {
		reasons = append(reasons, destruction.Attempted)
	}
	_, err := m.destroyer.Run(m.Context(), m.name, uint32(n), "")
	if answered(t, "destroying", err, m.states[n-1] == keyring.Quarantined, append(reasons, m.inTheData(n)...)...) {
		m.states[n-1] = keyring.Destroyed
	}
}

func (m *model) force(t *rapid.T) {
	n := m.draw(t)
	_, err := m.destroyer.Force(m.Context(), m.name, uint32(n), "because")
	if answered(t, "forcing", err, m.mayBeScheduled(n) || m.states[n-1] == keyring.Quarantined) {
		m.states[n-1] = keyring.Destroyed
	}
}

func (m *model) attempt(t *rapid.T) {
	n := m.draw(t)
	if m.states[n-1] != keyring.Quarantined {
		t.Skip("that is what check does")
	}
	if _, err := m.engine.Decrypt(m.Context(), []byte(m.tokens[n-1]), nil); !errors.Is(err, keyring.ErrState) {
		t.Fatalf("decrypted in quarantine: %v", err)
	}
	m.attempts[n] = true
}

func (m *model) changeData(t *rapid.T) {
	m.stored = rapid.IntRange(0, len(m.states)).Draw(t, "stored")
	m.put("")
	if m.stored > 0 {
		m.put(m.tokens[m.stored-1])
	}
}

func (m *model) check(t *rapid.T) {
	key, err := m.store.Key(m.Context(), m.name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(key.Check(), key.Verify(m.store.ID(), key.LastDigest)); err != nil {
		t.Fatal(err)
	}
	if int(key.Primary) != m.primary || len(key.Versions) != len(m.states) || int(key.Settings.MinDecryptVersion) != m.minimum || key.Settings.BlockReads != m.block {
		t.Fatalf("key %+v, want primary %d of %d versions, minimum %d, reads blocked: %v", key.Record, m.primary, len(m.states), m.minimum, m.block)
	}
	for i, want := range m.states {
		if got := key.Versions[i].State; got != want {
			t.Fatalf("version %d is %s, want %s", i+1, got, want)
		}
		if want == keyring.Quarantined {
			continue // an attempt would count
		}
		readable := i+1 >= m.minimum && (want == keyring.Active || want == keyring.Deactivated || want == keyring.Compromised && !m.block)
		plaintext, err := m.engine.Decrypt(m.Context(), []byte(m.tokens[i]), nil)
		if (err == nil) != readable || err == nil && string(plaintext) != "s3cret" || err != nil && !errors.Is(err, keyring.ErrState) {
			t.Fatalf("version %d is %s: %q, %v", i+1, want, plaintext, err)
		}
	}
	if m.primary > 0 {
		m.encryptNow(t)
	} else if _, err := m.engine.Encrypt(m.Context(), m.name, nil, nil); !errors.Is(err, keyring.ErrNoPrimary) {
		t.Fatalf("encrypted without a primary: %v", err)
	}
}
