"""Tempo, key and beats of a clip as promises that are checked.

A request may ask for a tempo, a key and a number of beats. Then the clip starts from a loop that is
made for them, is listened to, put right where it is off, and drawn again where that fails:

    request ─▶ seed loop ─▶ clip ─▶ stretched to the tempo ─▶ listened to ─▶ kept
                  ▲                   moved to the key             │
                  └──────────────── another seed ◀─────────────────┘

- `promise`: what a request promises.
- `seed_loop`: the loop that a clip starts from.
- `hearing`: what is heard in a clip, and whether it is as promised.
- `shaping`: the length and pitch of a clip.
- `fitting`: a drawn clip as long as it was promised, in tempo and key.
- `drawing`: draws until a clip keeps the promise.
- `remarks`: what is not kept, or not heard, in one line each.
- `response`: the answer of the inference API.
"""
