// Package sdk is what the author of a provider plugin imports.
//
// The path in short:
//
//  1. Write a package with a type that implements [provider.KeyManager] for one
//     key-encryption key, a schema of its configuration, and a constructor. It
//     imports core/provider and the key manager's SDK, nothing else of Keyrotor.
//  2. Answer failures with [provider.Errorf] and one of the provider codes. The
//     host decides by the code whether to retry, to degrade or to give up.
//  3. Write a main that calls [Serve].
//
// What the author need not care about: deadlines and retries (the host sets and
// does them), a configuration that does not fit the schema (refused before the
// constructor runs), sensitive attributes (they arrive as [provider.Secret]),
// calls that need a capability which the plugin does not list (refused), a panic
// in a call (it fails that call alone; one in a goroutine of the author's own
// still ends the process), and the end of the host (the plugin ends with it).
//
// What the author must care about:
//
//   - Every method is called concurrently.
//   - The plaintexts in a request are the caller's. They are wiped when the call
//     returns, so none may be kept without a copy; and the author does not wipe
//     them, since a caller without a process in between goes on to use them.
//   - The plaintexts in an answer are wiped when it has been sent, so they too must
//     be copies of whatever the author keeps.
package sdk
