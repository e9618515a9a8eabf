package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/core/wrapping"
	"github.com/keyrotor/keyrotor/testing/receiver"
)

// commands are what the scripts need beside testscript's own. FILE may be stdout
// or stderr, as ever.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"setup": setup,
		"exits": exits,
		"json":  jsonIs,
		"is":    is,
		"write": write,
		"let":   let,
		"mode":  mode,
		"hold":  hold,
		"debug": debug,
		"past":  past,
		"prune": prune,
		"tty":   onTerminal,

		"receiver": startReceiver,
		"answers":  answers,
		"received": received,
	}
}

// setup KEY... makes a folder "keys" with these keys, and sets KEYROTOR_CONFIG. Scripts that
// ask for the same keys and plugins get copies of one folder.
func setup(ts *testscript.TestScript, _ bool, keys []string) {
	plugins := ts.Getenv(pluginsVariable)
	prepared, _ := folders.LoadOrStore(plugins+" "+strings.Join(keys, " "), sync.OnceValues(func() (string, error) {
		return prepare(ts, plugins, keys)
	}))
	folder, err := prepared.(func() (string, error))()
	ts.Check(err)
	ts.Check(ts.Exec("cp", "-Rp", folder, ts.MkAbs("keys")))
	ts.Setenv("KEYROTOR_CONFIG", ts.MkAbs("keys/keyrotor.hcl"))
}

// folders are those that were prepared, by what they were asked with.
var folders sync.Map

func prepare(ts *testscript.TestScript, plugins string, keys []string) (folder string, err error) {
	folder = filepath.Join(plugins, "..", "prepared-"+strings.Join(keys, "-"))
	err = ts.Exec("keyrotor", "init", folder, "--plugins", plugins)
	for _, key := range keys {
		if err == nil {
			err = ts.Exec("keyrotor", "key", "create", key, "-c", filepath.Join(folder, "keyrotor.hcl"))
		}
	}
	return folder, err
}

// exits STATUS PROGRAM ARG... runs a program that must end with this exit status.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// json FILE PATH VALUE looks at a place in a JSON document. PATH are names and
// indices joined by dots, "." is the whole, and len at its end is a length; VALUE is
// JSON, or else a string. ! json FILE PATH means that there is no such place.
func jsonIs(ts *testscript.TestScript, neg bool, args []string) {
	var doc any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &doc); err != nil {
		ts.Fatalf("%s is no JSON document: %v", args[0], err)
	}
	got, err := at(doc, args[1])
	if neg {
		if err == nil {
			ts.Fatalf("%s is there: %v", args[1], got)
		}
		return
	}
	ts.Check(err)
	var want any
	if json.Unmarshal([]byte(args[2]), &want) != nil {
		want = args[2]
	}
	if !reflect.DeepEqual(got, want) {
		ts.Fatalf("%s is %#v, want %#v", args[1], got, want)
	}
}

func at(doc any, path string) (any, error) {
	if path == "." {
		return doc, nil
	}
	for step := range strings.SplitSeq(path, ".") {
		switch v := doc.(type) {
		case map[string]any:
			if step == "len" {
				return float64(len(v)), nil
			}
			next, ok := v[step]
			if !ok {
				return nil, fmt.Errorf("no %q in %v", step, v)
			}
			doc = next
		case []any:
			if step == "len" {
				return float64(len(v)), nil
			}
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				return nil, fmt.Errorf("no element %s in %v", step, v)
			}
			doc = v[i]
		default:
			return nil, fmt.Errorf("%q is beyond %v", step, doc)
		}
	}
	return doc, nil
}

// is FILE "TEXT" compares all of a file with a Go string literal.
func is(ts *testscript.TestScript, neg bool, args []string) {
	want, err := literal(args[1:])
	ts.Check(err)
	if got := ts.ReadFile(args[0]); (got == want) == neg {
		ts.Fatalf("%s is %q, want %q", args[0], got, want)
	}
}

// write FILE "TEXT" writes a Go string literal, bytes that txtar cannot hold
// included.
func write(ts *testscript.TestScript, _ bool, args []string) {
	text, err := literal(args[1:])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

// literal reads a Go string literal that the script's parser took apart at its
// spaces. A single quote is \x27, since the parser takes the other away.
func literal(words []string) (string, error) {
	return strconv.Unquote(strings.Join(words, " "))
}

// let NAME FILE [PATH] sets a variable to a file's content without its last line
// break, or to a string in a JSON document.
func let(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.TrimSuffix(ts.ReadFile(args[1]), "\n")
	if len(args) > 2 {
		var doc any
		ts.Check(json.Unmarshal([]byte(text), &doc))
		v, err := at(doc, args[2])
		ts.Check(err)
		text = fmt.Sprint(v)
	}
	ts.Setenv(args[0], text)
}

// mode FILE OCTAL compares a file's permissions.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Lstat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("the mode of %s is %s, want %s", args[0], got, args[1])
	}
}

// hold KEY DURATION [DETAIL] claims a key of the folder "keys", as another process
// that rotates it does; with DETAIL as one of another machine, which is about to do
// that outside.
func hold(ts *testscript.TestScript, _ bool, args []string) {
	ttl, err := time.ParseDuration(args[1])
	ts.Check(err)
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: filepath.Join(ts.MkAbs("keys"), "keyrotor.db")})
	ts.Check(err)
	claim := store.Claim{
		Key: args[0], Kind: "rotate", Operation: "another", Owner: rotation.CurrentOwner().String(), TTL: ttl,
	}
	if len(args) > 2 {
		claim.Kind, claim.Owner, claim.Detail = "rotate-kek", "elsewhere", args[2]
	}
	_, err = s.Begin(context.Background(), claim)
	ts.Check(errors.Join(err, s.Close()))
}

// debug TYPE starts a plugin as its author does, until the script's end, and sets
// ATTACH to what it prints and DEBUGGED to its process id.
func debug(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command(filepath.Join(ts.Getenv(pluginsVariable), "keyrotor-plugin-"+args[0]), "-debug")
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	ts.Check(err)
	ts.Setenv("ATTACH", strings.TrimSpace(line))
	ts.Setenv("DEBUGGED", strconv.Itoa(cmd.Process.Pid))
}

// past KEY VERSION DURATION schedules the destruction of a version, as it would have
// been done so long ago, for a period of an hour.
func past(ts *testscript.TestScript, _ bool, args []string) {
	version, err := strconv.ParseUint(args[1], 10, 32)
	ts.Check(err)
	ago, err := time.ParseDuration(args[2])
	ts.Check(err)
	ctx := context.Background()
	s, err := sqlite.Open(ctx, sqlite.Config{
		Path: filepath.Join(ts.MkAbs("keys"), "keyrotor.db"), Now: func() time.Time { return time.Now().Add(-ago) },
	})
	ts.Check(err)
	e, err := engine.New(engine.Config{
		Store: s, Actor: "test@host",
		KeyManager: func(string) (wrapping.KeyManager, error) { return nil, errors.ErrUnsupported },
	})
	ts.Check(err)
	d, err := destruction.New(destruction.Config{Store: s, Keys: e, Paths: []string{ts.MkAbs("shop")}, Actor: "test@host"})
	ts.Check(err)
	_, err = d.Schedule(ctx, args[0], uint32(version), time.Hour, "")
	ts.Check(errors.Join(err, e.Close(ctx), s.Close()))
}

// prune takes out of the history of the folder "keys" whatever may go, as the retention
// of a daemon does.
func prune(ts *testscript.TestScript, _ bool, _ []string) {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(ts.MkAbs("keys"), "keyrotor.db")})
	ts.Check(err)
	n, err := s.Prune(ctx, store.Prune{Before: time.Now(), Actor: "daemon@host", Operation: "op-prune"})
	ts.Check(errors.Join(err, s.Close()))
	if n == 0 {
		ts.Fatalf("nothing was pruned")
	}
}

// hooks are the receivers of the scripts that run, by the folder of each.
var hooks sync.Map

// scriptReceiver has what a receiver complains of fail its script.
type scriptReceiver struct {
	*testscript.TestScript
	complaints []string
	*receiver.Receiver
}

func (*scriptReceiver) Helper() {}

func (r *scriptReceiver) Errorf(format string, args ...any) {
	r.complaints = append(r.complaints, fmt.Sprintf(format, args...))
}

func (r *scriptReceiver) Cleanup(f func()) { r.Defer(f) }

// receiver SECRET starts a receiver of webhooks, and sets HOOK to its address.
func startReceiver(ts *testscript.TestScript, _ bool, args []string) {
	r := &scriptReceiver{TestScript: ts}
	r.Receiver = receiver.New(r, args[0])
	hooks.Store(ts.Getenv("WORK"), r)
	ts.Setenv("HOOK", r.URL())
}

func receiverOf(ts *testscript.TestScript) *scriptReceiver {
	r, ok := hooks.Load(ts.Getenv("WORK"))
	if !ok {
		ts.Fatalf("there is no receiver")
	}
	return r.(*scriptReceiver)
}

// answers STATUS has the receiver answer so from now on.
func answers(ts *testscript.TestScript, _ bool, args []string) {
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	receiverOf(ts).Answer(status)
}

// received FILE writes down what came so far, as JSON, by subject: there is no order
// between keys.
func received(ts *testscript.TestScript, _ bool, args []string) {
	r := receiverOf(ts)
	all := r.All()
	if len(r.complaints) > 0 {
		ts.Fatalf("%q", r.complaints)
	}
	slices.SortStableFunc(all, func(a, b receiver.Event) int { return strings.Compare(a.Subject, b.Subject) })
	type request struct {
		ID, Type, Subject string
		Team              string
		Status            int
		Event             json.RawMessage
	}
	requests := make([]request, len(all))
	for i, e := range all {
		requests[i] = request{e.ID, e.Type, e.Subject, e.Header.Get("X-Team"), e.Status, json.RawMessage(e.Body)}
	}
	text, err := json.Marshal(requests)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}
