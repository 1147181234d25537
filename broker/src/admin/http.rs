//! As much of HTTP/1.1 as a page to be fetched needs.
//!
//! Owns: reading a request's head, writing a response.
//! Lives on: shard 0.
//! Invariants:
//! 1. GET and HEAD only. A request that announces a body is refused and its connection closed, so no byte can be taken
//!    for the beginning of another request.
//! 2. A head is at most [`HEAD_SIZE_MAX`] bytes.
//!
//! Not here: paths (`admin.rs`).

use bytes::Bytes;

/// A status code with its phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(pub(super) u16, &'static str);

impl Status {
    pub(super) const NOT_FOUND: Self = Self(404, "Not Found");
    const BAD_REQUEST: Self = Self(400, "Bad Request");
    const METHOD_NOT_ALLOWED: Self = Self(405, "Method Not Allowed");
    const CONTENT_TOO_LARGE: Self = Self(413, "Content Too Large");
    const FIELDS_TOO_LARGE: Self = Self(431, "Request Header Fields Too Large");
    const VERSION_NOT_SUPPORTED: Self = Self(505, "HTTP Version Not Supported");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
}

/// What of a request's head matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: Method,
    /// Without the query.
    pub(super) path: String,
    pub(super) keep_alive: bool,
}

/// Reads the head at the beginning of `bytes`, with its size; `None` when it is not whole yet.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Status> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() >= HEAD_SIZE_MAX {
            Err(Status::FIELDS_TOO_LARGE)
        } else {
            Ok(None)
        };
    };
    if end > HEAD_SIZE_MAX {
        return Err(Status::FIELDS_TOO_LARGE);
    }
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Status::BAD_REQUEST)?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Status::BAD_REQUEST);
    };
    let mut keep_alive = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        other if other.starts_with("HTTP/") => return Err(Status::VERSION_NOT_SUPPORTED),
        _ => return Err(Status::BAD_REQUEST),
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => return Err(Status::METHOD_NOT_ALLOWED),
    };
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Status::BAD_REQUEST)?;
        let value = value.trim();
        // A blank before the colon, or a folded line, has been used to smuggle.
        if name.is_empty() || name.contains([' ', '\t']) {
            return Err(Status::BAD_REQUEST);
        }
        if name.eq_ignore_ascii_case("connection") {
            let mut words = value.split(',').map(str::trim);
            if words.clone().any(|word| word.eq_ignore_ascii_case("close")) {
                keep_alive = false;
            } else if words.any(|word| word.eq_ignore_ascii_case("keep-alive")) {
                keep_alive = true;
            }
        }
        let has_body = (name.eq_ignore_ascii_case("content-length") && value != "0")
            || name.eq_ignore_ascii_case("transfer-encoding");
        if has_body {
            return Err(Status::CONTENT_TOO_LARGE);
        }
    }
    let path = target.split('?').next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(Status::BAD_REQUEST);
    }
    let head = Head {
        method,
        path: path.to_owned(),
        keep_alive,
    };
    Ok(Some((head, end + 4)))
}

/// A response with its body.
pub(super) struct Response {
    status: Status,
    content_type: &'static str,
    body: Bytes,
}

impl Response {
    pub(super) fn new(code: u16, content_type: &'static str, body: String) -> Self {
        let phrase = if code == 200 {
            "OK"
        } else {
            "Service Unavailable"
        };
        Self {
            status: Status(code, phrase),
            content_type,
            body: body.into(),
        }
    }

    pub(super) fn text(code: u16, body: &str) -> Self {
        Self::new(code, TEXT, body.to_owned())
    }

    /// The status and nothing more.
    pub(super) fn refusal(status: Status) -> Self {
        Self {
            status,
            content_type: TEXT,
            body: format!("{} {}\n", status.0, status.1).into(),
        }
    }

    /// What is to be sent.
    pub(super) fn parts(self, method: Method, keep_alive: bool) -> Vec<Bytes> {
        let Status(code, phrase) = self.status;
        let allow = if self.status == Status::METHOD_NOT_ALLOWED {
            "Allow: GET, HEAD\r\n"
        } else {
            ""
        };
        let head = format!(
            "HTTP/1.1 {code} {phrase}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n{allow}Connection: {}\r\n\r\n",
            self.content_type,
            self.body.len(),
            if keep_alive { "keep-alive" } else { "close" }
        );
        match method {
            Method::Get => vec![head.into(), self.body],
            Method::Head => vec![head.into()],
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Scrapers send some hundred bytes.
const HEAD_SIZE_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> u16 {
        parse(text.as_bytes()).expect_err("a refusal").0
    }

    fn head(text: &str) -> Head {
        let (head, size) = parse(text.as_bytes()).expect("a head").expect("whole");
        assert_eq!(size, text.len());
        head
    }

    #[test]
    fn what_scrapers_send_is_understood() {
        let text = "GET /metrics?name[]=a HTTP/1.1\r\nHost: x:9644\r\nAccept: */*\r\nContent-Length: 0\r\n\r\n";
        let got = head(text);
        assert_eq!((got.method, got.path.as_str()), (Method::Get, "/metrics"));
        assert!(got.keep_alive);
        for cut in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..cut]), Ok(None), "cut at {cut}");
        }
        let two = [text, text].concat();
        assert_eq!(parse(two.as_bytes()), Ok(Some((got, text.len()))));
        assert!(!head("GET / HTTP/1.0\r\n\r\n").keep_alive);
        assert!(head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
        assert!(!head("HEAD / HTTP/1.1\r\nconnection: close\r\n\r\n").keep_alive);
    }

    #[test]
    fn what_is_no_plain_question_is_refused() {
        assert_eq!(refused("POST / HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(refused("GET / HTTP/2.0\r\n\r\n"), 505);
        assert_eq!(refused("GET  / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(refused("GET http://x/ HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\nno colon\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\nHost : x\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n"), 413);
        assert_eq!(
            refused("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            413
        );
        let long = |size: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(size));
        assert_eq!(refused(&long(HEAD_SIZE_MAX)), 431);
        assert!(parse(&vec![b'a'; HEAD_SIZE_MAX - 1]).is_ok());
        assert!(parse(&vec![b'a'; HEAD_SIZE_MAX]).is_err());
    }
}
