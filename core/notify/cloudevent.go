package notify

import (
	"encoding/json"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// typePrefix stands before the type of a notice in that of a CloudEvent.
const typePrefix = "io.keyrotor."

// encode makes the CloudEvent of a notice, in its structured JSON form.
func encode(store keyring.StoreID, n Notice) (Message, error) {
	e := event.New()
	e.SetID(n.ID)
	e.SetSource("urn:uuid:" + store.String())
	e.SetType(typePrefix + string(n.Type))
	if subject := n.Subject(); subject != "" {
		e.SetSubject(subject)
	}
	e.SetTime(n.Time)
	if err := e.SetData(event.ApplicationJSON, n); err != nil {
		return Message{}, fmt.Errorf("notify: notice %s: %w", n.ID, err)
	}
	if err := e.Validate(); err != nil {
		return Message{}, fmt.Errorf("notify: notice %s: %w", n.ID, err)
	}
	body, err := json.Marshal(e)
	if err != nil {
		return Message{}, fmt.Errorf("notify: notice %s: %w", n.ID, err)
	}
	return Message{ID: n.ID, Notice: n, Body: body}, nil
}

// decode reads what encode made.
func decode(body []byte) (Message, error) {
	var e event.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return Message{}, fmt.Errorf("notify: read a message: %w", err)
	}
	m := Message{ID: e.ID(), Body: body}
	if err := e.DataAs(&m.Notice); err != nil {
		return Message{}, fmt.Errorf("notify: read message %s: %w", m.ID, err)
	}
	m.Notice.ID = m.ID
	return m, nil
}
