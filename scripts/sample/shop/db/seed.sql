-- PostgreSQL database dump
-- Dumped from database version 17.2

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

CREATE TABLE public.integrations (
    id integer PRIMARY KEY,
    service text NOT NULL,
    endpoint text NOT NULL,
    credential text NOT NULL,
    note text
);

INSERT INTO public.integrations VALUES
    (1, 'courier', 'https://courier.example.test/v1', '{{secret:van number nine}}', NULL),
    (2, 'accounting', 'https://books.example.test', '{{secret:double entry; single ''quote''}}', 'closes at 18:00'),
    (3, 'loyalty', 'https://points.example.test', '{{secret:ten stamps}}', 'see ticket 4411');

COPY public.api_clients (id, name, secret, created) FROM stdin;
1	warehouse	{{secret:forklift-blue}}	2025-02-11 09:30:00+00
2	kiosk	{{secret:kiosk-ä-ö-ü}}	2025-06-01 12:00:00+00
3	partner	{{secret:x}}	2026-01-20 16:45:12+00
\.

INSERT INTO public.webhooks (url, secret) VALUES ('https://a.example.test/hook','{{secret:hook-a}}'),('https://b.example.test/hook','{{secret:hook-b}}'),('https://c.example.test/hook','{{secret:hook-c}}');

-- PostgreSQL database dump complete
