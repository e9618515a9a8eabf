// Package notify tells others what happens to keys: a rotation, one that failed or is due
// soon, a key manager that does not answer. Whoever runs a service wants to know that
// when it happens, and the rotation must not wait for, or fail with, whoever is told.
//
// So nothing is told by those who make it happen. They commit to the history, or add a
// notice (something that is no event, see [Notifier.Tell]), and go on. A [Notifier], in
// the same process or in another, follows the store and tells
//
//   - handlers: Go functions of this process, see [Notifier.Handle]. They hear of what
//     any process commits while the notifier runs, within a second, and that is all that
//     is promised: nothing is kept for them.
//   - targets: a webhook, a command, a log, or a [Sender] of your own. Whatever is
//     committed after a target was first subscribed reaches it, also what the command
//     line commits while no notifier runs.
//
// # What a target can rely on
//
// A message comes at least once. It comes again if the sender did not hear that it was
// taken: after a crash, or when an answer was lost. Message and ID are then the same, byte
// for byte, so a receiver remembers the ids of a few days and passes over what it knows.
//
// What is about one key, or one provider, comes in the order in which it was committed:
// the next message is sent when the one before it was taken or given up. There is no order
// between keys. A process that is suspended in the middle of a send, for longer than its
// lease of a minute, can send that one message after another process went on; its id was
// seen before.
//
// A target that is away gets nothing for a while, up to five minutes, and then one message
// to see how it is; what it asks for by Retry-After is kept to, up to an hour. One that
// refuses a message gets the other keys' all the same. After a week, or as configured, a
// message is given up, which is logged as an error and shown by [Notifier.Status].
//
// One process at a time delivers to a target. The others take over when it ends, at once
// if they see that, and else after a minute.
//
// # Webhooks
//
// The body is a CloudEvent 1.0 in JSON; its data is a [Notice]. The signature is that of
// Standard Webhooks (standardwebhooks.com), so any of its libraries verifies it, provided
// that the secret begins with "whsec_" (they take every other one for base64, too): the
// headers webhook-id, webhook-timestamp and webhook-signature. The timestamp is that of
// the try, not of the event: a receiver refuses what is older than five minutes, lest
// somebody sends again what he has recorded, and a retry is never too old. The order of
// work for a receiver: read the body as it is, verify, look whether the id is known,
// store it, answer with 2xx, and only then act; an answer must come within ten seconds.
//
// Nothing here is secret but a webhook's URL, secret and headers, which show nowhere. Names
// of keys and people, notes and the names of key-encryption keys are told.
package notify
