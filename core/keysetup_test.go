package core_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/secret"
	"github.com/keyrotor/keyrotor/testing/tier"
)

// givenRoots tell two master keys apart.
func givenRoot(first byte) keyring.Root {
	b := make([]byte, keyring.RootSize)
	for i := range b {
		b[i] = first + byte(i)
	}
	root, err := keyring.NewRoot(b)
	if err != nil {
		panic(err)
	}
	return root
}

func twoRoots() core.KeySetup {
	return core.KeySetup{Key: "payments", Old: core.MasterKey(givenRoot(1)), New: core.MasterKey(givenRoot(101))}
}

func twoPassphrases() core.KeySetup {
	return core.KeySetup{
		Key: "payments", OldLabel: "2025", NewLabel: "2026",
		Old: core.Passphrase(secret.FromString("correct horse battery staple")),
		New: core.Passphrase(secret.FromString("staple battery horse correct")),
	}
}

// eventsOf lists the events of a key in words, newest first.
func eventsOf(t *testing.T, kr *core.Keyrotor, key string) (words []string) {
	t.Helper()
	page, err := kr.History(t.Context(), history.Query{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range page.Events {
		e, err := history.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, fmt.Sprintf("%s v%d<-%d %s", e.Type, e.Version, e.PreviousVersion, e.Reason))
	}
	return words
}

var setUpEvents = []string{"rotation v2<-1 manual", "creation v2<-0 manual", "creation v1<-0 initial"}

// TestSetupKeyRotation: the new key encrypts and the old one decrypts; what each of them
// is comes from the given keys alone, and the same call again changes nothing.
func TestSetupKeyRotation(t *testing.T) {
	for name, setup := range map[string]func() core.KeySetup{"roots": twoRoots, "passphrases": twoPassphrases} {
		t.Run(name, func(t *testing.T) {
			kr := open(t, newDir(t))
			s := setup()
			s.Note = "from the system before"
			result, err := kr.SetupKeyRotation(t.Context(), s)
			if err != nil || result.Old != 1 || result.New != 2 || !slices.Equal(result.Made, []uint32{1, 2}) {
				t.Fatalf("%+v, %v", result, err)
			}
			old, fresh := &result.Key.Versions[0], &result.Key.Versions[1]
			if result.Key.Primary != 2 || old.State != keyring.Deactivated || fresh.State != keyring.Active {
				t.Errorf("version 1 is %s, version 2 %s, the primary %d", old.State, fresh.State, result.Key.Primary)
			}
			if want := [2]string{old.Label, fresh.Label}; s.OldLabel == "" && want != [2]string{"v1", "v2"} || s.OldLabel != "" && want != [2]string{s.OldLabel, s.NewLabel} {
				t.Errorf("labels %q", want)
			}
			if got := eventsOf(t, kr, "payments"); !slices.Equal(got, setUpEvents) {
				t.Errorf("history %q", got)
			}
			token, err := kr.Encrypt(t.Context(), "payments", []byte("s3cret"), nil)
			if err != nil || !bytes.HasPrefix(token, []byte("keyrotor:payments:v2:")) {
				t.Errorf("%s, %v", token, err)
			}
			again, err := kr.SetupKeyRotation(t.Context(), setup())
			if err != nil || again.Made != nil || again.Old != 1 || again.New != 2 {
				t.Errorf("again: %+v, %v", again, err)
			}
			if _, err := kr.Rotate(t.Context(), "payments", keyring.ReasonManual, ""); err != nil {
				t.Fatal(err)
			}
			if again, err = kr.SetupKeyRotation(t.Context(), setup()); err != nil || again.Made != nil || again.Key.Primary != 3 {
				t.Errorf("after a rotation: %+v, %v", again, err)
			}
		})
	}
}

// TestSetupOpensOld: what was encrypted under the old key, as long as it was alone, opens.
func TestSetupOpensOld(t *testing.T) {
	path := newDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kr, err := core.Opener{OnStep: func(_ string, s rotation.Step) {
		if s == rotation.StepCommitted {
			cancel() // the process is told to stop between the two versions
		}
	}}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kr.Close() }()
	s := twoPassphrases()
	if _, err := kr.SetupKeyRotation(ctx, s); !errors.Is(err, context.Canceled) {
		t.Fatalf("cut off: %v", err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%v %+v %#v %s", s, s, s, s.Old)
	if err := json.NewEncoder(&text).Encode(s); err != nil || strings.Contains(text.String(), "horse") {
		t.Errorf("%s, %v", text.String(), err)
	}
	token, err := kr.Encrypt(t.Context(), "payments", []byte("s3cret"), nil)
	if err != nil || !bytes.HasPrefix(token, []byte("keyrotor:payments:v1:")) {
		t.Fatalf("%s, %v", token, err)
	}
	result, err := kr.SetupKeyRotation(t.Context(), twoPassphrases())
	if err != nil || !slices.Equal(result.Made, []uint32{2}) {
		t.Fatalf("completed: %+v, %v", result, err)
	}
	if got := eventsOf(t, kr, "payments"); !slices.Equal(got, setUpEvents) {
		t.Errorf("history %q", got)
	}
	if plaintext, err := open(t, path).Decrypt(t.Context(), token, nil); err != nil || string(plaintext) != "s3cret" {
		t.Errorf("under the old key: %q, %v", plaintext, err)
	}
}

// TestSetupRefuses: nothing is made of what cannot be carried through, and the secrets are
// wiped all the same.
func TestSetupRefuses(t *testing.T) {
	kr := open(t, newDir(t))
	if _, err := kr.SetupKeyRotation(t.Context(), twoRoots()); err != nil {
		t.Fatal(err)
	}
	if _, err := kr.CreateKey(t.Context(), "drawn", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	zeros, err := keyring.NewRoot(make([]byte, keyring.RootSize))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*core.KeySetup)
		want   error
		says   string
	}{
		"other old key":   {func(s *core.KeySetup) { s.Old = core.MasterKey(givenRoot(55)) }, core.ErrOtherKey, `version 1 of key "payments" is not the old key`},
		"other new key":   {func(s *core.KeySetup) { s.New = core.MasterKey(givenRoot(55)) }, core.ErrOtherKey, `version 2 of key "payments" is not the new key that is given: its key check value is`},
		"a passphrase":    {func(s *core.KeySetup) { s.New = core.Passphrase(secret.FromString("correct horse battery")) }, core.ErrOtherKey, "does not come from a passphrase"},
		"other label":     {func(s *core.KeySetup) { s.NewLabel = "2026" }, core.ErrOtherKey, `its label is "v2", not "2026"`},
		"drawn key":       {func(s *core.KeySetup) { s.Key = "drawn" }, core.ErrOtherKey, `version 1 of key "drawn"`},
		"bad name":        {func(s *core.KeySetup) { s.Key = "No Name" }, keyring.ErrInvalidName, ""},
		"bad note":        {func(s *core.KeySetup) { s.Key, s.Note = "other", "two\nlines" }, history.ErrText, ""},
		"bad label":       {func(s *core.KeySetup) { s.Key, s.NewLabel = "other", "v7" }, keyring.ErrLabel, ""},
		"labels alike":    {func(s *core.KeySetup) { s.Key, s.OldLabel, s.NewLabel = "other", "a", "a" }, keyring.ErrLabel, `"a" is that of version 1 of key "other"`},
		"no key":          {func(s *core.KeySetup) { s.Key, s.New = "other", core.GivenKey{} }, keyring.ErrMaterial, "the new key: "},
		"weak key":        {func(s *core.KeySetup) { s.Key, s.New = "other", core.MasterKey(zeros) }, keyring.ErrWeak, "the new key: "},
		"weak passphrase": {func(s *core.KeySetup) { s.Key, s.Old = "other", core.Passphrase(secret.FromString("hunter2")) }, keyring.ErrWeak, "the old key: "},
		"no passphrase":   {func(s *core.KeySetup) { s.Key, s.Old = "other", core.Passphrase(secret.FromString("")) }, keyring.ErrWeak, "the old key: too weak to be a key: a passphrase of 0 bytes"},
		"the same twice":  {func(s *core.KeySetup) { s.Key, s.New = "other", core.MasterKey(givenRoot(1)) }, keyring.ErrWeak, "the same"},
		"no provider":     {func(s *core.KeySetup) { s.Key, s.WrapWith = "other", []string{"nobody"} }, nil, "nobody"},
	} {
		old := secret.New(bytes.Clone(givenRoot(1).Reveal()))
		s := twoRoots()
		s.Old = core.MasterKey(keyring.Root{Bytes: old})
		c.change(&s)
		_, err := kr.SetupKeyRotation(t.Context(), s)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v, and %q", name, err, c.want, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: the error shows the passphrase: %v", name, err)
		}
		if strings.HasPrefix(name, "other new") && old.Len() != 0 {
			t.Errorf("%s: %d bytes of the old key are left", name, old.Len())
		}
	}
	if names, err := kr.Keys(t.Context()); err != nil || !slices.Equal(names, []string{"drawn", "payments"}) {
		t.Errorf("keys %q, %v", names, err)
	}
	if got := eventsOf(t, kr, "payments"); !slices.Equal(got, setUpEvents) {
		t.Errorf("history %q", got)
	}
}

// TestSetupAtOnce: several processes set the same key up, and it is made once.
func TestSetupAtOnce(t *testing.T) {
	path := newDir(t)
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var made []uint32
	for range 3 {
		kr := open(t, path)
		wg.Go(func() {
			result, err := kr.SetupKeyRotation(t.Context(), twoPassphrases())
			if err != nil || result.Key.Primary != 2 {
				t.Errorf("primary %d, %v", result.Key.Primary, err)
			}
			mu.Lock()
			defer mu.Unlock()
			made = append(made, result.Made...)
		})
	}
	wg.Wait()
	if slices.Sort(made); !slices.Equal(made, []uint32{1, 2}) {
		t.Errorf("made were the versions %v", made)
	}
	if got := eventsOf(t, open(t, path), "payments"); len(got) < 3 || !slices.Equal(got[len(got)-1:], setUpEvents[2:]) || strings.Count(strings.Join(got, "\n"), "rotation v") != 1 {
		t.Errorf("history %q", got)
	}
}

// TestSetupAtOnceWithoutPrimary: version 1 is there and suspended, so that no primary tells
// those who complete the setup that one of them was faster.
func TestSetupAtOnceWithoutPrimary(t *testing.T) {
	path := initDir(t, core.InitOptions{})
	first := open(t, path)
	if _, err := first.ImportKey(t.Context(), "payments", engine.Imported{Root: givenRoot(1)}, core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := first.SetState(t.Context(), "payments", 1, keyring.Suspended, ""); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	made := make(chan uint32, 10)
	for range 3 {
		kr := open(t, path)
		wg.Go(func() {
			s := core.KeySetup{Key: "payments", Old: core.MasterKey(givenRoot(1)), New: core.Passphrase(secret.FromString("staple battery horse correct"))}
			result, err := kr.SetupKeyRotation(t.Context(), s)
			if err != nil || result.Key.Primary != 2 || len(result.Key.Versions) != 2 {
				t.Errorf("primary %d of %d versions, %v", result.Key.Primary, len(result.Key.Versions), err)
			}
			for _, v := range result.Made {
				made <- v
			}
		})
	}
	wg.Wait()
	close(made)
	var numbers []uint32
	for v := range made {
		numbers = append(numbers, v)
	}
	if !slices.Equal(numbers, []uint32{2}) {
		t.Errorf("made were the versions %v", numbers)
	}
}

// setupChild names the config for the process that is killed, setupSteps after how many
// steps.
const (
	setupChild = "KEYROTOR_TEST_SETUP"
	setupSteps = "KEYROTOR_TEST_SETUP_STEPS"
)

// setUpAndDie is the child: it kills itself at a step, or ends with 0 if there are fewer.
func setUpAndDie(path string) {
	left, err := strconv.Atoi(os.Getenv(setupSteps))
	if err != nil {
		panic(err)
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		panic(err)
	}
	kr, err := core.Opener{OnStep: func(string, rotation.Step) {
		if left--; left == 0 {
			_ = self.Kill()
			select {}
		}
	}}.Open(context.Background(), path)
	if err != nil {
		panic(err)
	}
	if _, err := kr.SetupKeyRotation(context.Background(), twoRoots()); err != nil {
		panic(err)
	}
	_ = kr.Close()
	os.Exit(0)
}

// TestSetupKilled kills the process at steps of both parts, in the exhaustive tier at every
// step. The same call again completes what was begun, and nothing shows in the history that
// it took two.
func TestSetupKilled(t *testing.T) {
	const steps = 12 // six of a new key, six of a rotation
	for n := 0; n <= steps; n += tier.Pick(4, 1) {
		path := newDir(t)
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), setupChild+"="+path, setupSteps+"="+strconv.Itoa(n+1))
		out, err := child.CombinedOutput()
		if killed := child.ProcessState.ExitCode() == -1; killed != (n < steps) {
			t.Fatalf("killed at step %d: %v: %v\n%s", n+1, killed, err, out)
		}
		kr, err := core.Opener{CreateStore: true}.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if result, err := kr.SetupKeyRotation(t.Context(), twoRoots()); err != nil || result.Key.Primary != 2 || len(result.Key.Versions) != 2 {
			t.Errorf("killed at step %d: %+v, %v", n+1, result, err)
		}
		if got := eventsOf(t, kr, "payments"); !slices.Equal(got, setUpEvents) {
			t.Errorf("killed at step %d: history %q", n+1, got)
		}
		if err := kr.Close(); err != nil {
			t.Error(err)
		}
	}
}
