// Package conformance is the suite that every provider of Keyrotor passes, ours
// and those of others. Adopting it is one test:
//
//	func TestConformance(t *testing.T) {
//		conformance.Run(t, conformance.Harness{
//			Info: mykms.Info("test"), Schema: mykms.Schema(), New: mykms.New,
//			Package: "example.org/mykms/plugin",
//			KEK: func(t testing.TB) provider.Body {
//				return provider.Body{Attributes: map[string]any{"key": newKey(t)}}
//			},
//		})
//	}
//
// # What passing means
//
// The provider keeps the promises that package provider makes in its name, those
// of the capabilities that it lists included: a wrap opens to its root, under its
// AAD and no other, in a batch as alone, before and after rotations and in another
// process; what was altered, belongs to another key or was disabled does not open;
// each failure has the code by which the host decides what to do; what it cannot do
// is refused before anything is done; it may be called concurrently, configured
// twice, closed twice and canceled; and no secret of its configuration shows in an
// error. It says nothing about how good the key manager behind it is.
//
// # Four ways
//
// Every case runs on each way that a call can take, because each can break a
// promise that the one before kept:
//
//   - direct: the provider's own methods.
//   - memory: through the wire protocol, in this process.
//   - process: through a catalog, which pins, starts and supervises the plugin's
//     binary as a host does.
//   - killed: the same, and the process is killed while calls are under way. Calls
//     that only read are answered by the next process; a call that changes something
//     fails with [provider.PluginCrashed] and DescribeKey tells what is the case.
//     This way needs a Unix system, and is left out elsewhere.
//
// # Failures
//
// Every failure begins with the name of its case, such as "wrap/binds-aad". Names
// are stable: they may be searched for, run alone (go test -run
// 'TestConformance/direct/wrap/binds-aad') and excused in [Harness.Cannot]. A case
// belongs to a capability where its promise does; it is not run for a provider that
// does not list it.
package conformance

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyrotor/keyrotor/core/provider"
)

// patience is how long a case may take. It is long because a key manager may be far
// away and the machine busy; what takes longer does not end at all.
const patience = 2 * time.Minute

// Harness says how the suite gets at a provider. Info, KEK, and one of Package and
// Binary are required.
type Harness struct {
	// Info and Schema are what the plugin hands to sdk.Serve. The plugin's binary must
	// say the same of itself.
	Info   provider.Info
	Schema provider.Schema
	// New is the provider's constructor. It is nil for a provider that is not written
	// in Go, of which only the ways that need a process are tested.
	New provider.New

	// KEK answers the body of a provider block that names a key-encryption key of its
	// own; no two calls answer the same key. Values have the Go types that are listed
	// at [provider.AttributeType], and are a [provider.Secret] for an attribute that
	// is sensitive.
	//
	// If the provider lists [provider.CanCreateKey], the key must not exist yet: the
	// suite makes it. Otherwise it must exist, with one enabled version. What KEK sets
	// up, it takes down with t.Cleanup. It is called once or twice a case and way.
	KEK func(t testing.TB) provider.Body

	// Package is the plugin's main package, as an argument of `go build` in the
	// folder of the test. It is built once a run.
	Package string
	// Binary is the plugin's executable, instead of Package. The suite runs a copy.
	Binary string

	// Fails provokes codes that the suite cannot provoke by itself: each entry answers
	// the body of a block on which DescribeKey, GenerateDataKey and a deep Check fail
	// with the code, or which the constructor refuses with it. A wrong credential, for
	// example, is [provider.Unauthenticated]. Optional.
	Fails map[provider.Code]func(t testing.TB) provider.Body

	// Cannot excuses cases by name, with the reason: the key manager cannot be brought
	// to do what they ask. They are left out, and the log says why. Only cases on which
	// no data depends can be excused; the failure of another is a defect. Optional.
	Cannot map[string]string
}

// Run runs the suite, as subtests of t.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if err := h.validate(); err != nil {
		t.Fatalf("conformance: the harness is not complete: %v", err)
	}
	for _, r := range routes(t, &h) {
		t.Run(r.name, func(t *testing.T) { r.run(t, &h) })
	}
}

// run makes one subtest of each case that the provider's capabilities call for.
func (r route) run(t *testing.T, h *Harness) {
	connect := r.connect
	if !r.anew {
		w := r.connect(t)
		connect = func(testing.TB) way { return w }
	}
	for _, c := range r.cases {
		if !c.concerns(h.Info) {
			continue
		}
		if why, ok := h.Cannot[c.name]; ok {
			t.Logf("%s is left out: %s", c.name, why)
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s := &subject{Harness: h, t: t, way: connect(t), name: c.name}
			if err := c.run(t.Context(), s, patience); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		})
	}
}

// validate names what an author forgot.
func (h *Harness) validate() error {
	switch {
	case h.Info.Name == "":
		return errors.New("Info.Name is empty")
	case h.KEK == nil:
		return errors.New("KEK is nil")
	case (h.Package == "") == (h.Binary == ""):
		return errors.New("set one of Package and Binary: two of the four ways need the plugin's binary")
	}
	for name, why := range h.Cannot {
		switch c, ok := find(append(cases(h), killedCases()...), name); {
		case !ok:
			return fmt.Errorf("there is no case %q, which Cannot names", name)
		case !c.excusable:
			return fmt.Errorf("no provider is excused from %q, which Cannot names", name)
		case why == "":
			return fmt.Errorf("no reason is given for %q, which Cannot names", name)
		}
	}
	return nil
}
