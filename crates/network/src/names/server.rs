//! The sockets of the name server and what happens at them: one descriptor for somebody's loop, one call when it is ready.
//!
//! Its askers may be hostile: they cost at most so much memory, and nobody but themselves any time.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    connection::Connection,
    filter::Filter,
    forward::{Asker, Forward},
    message::{self, Answer, Outcome, Question, kind},
    records::Records,
    redirect::Redirect,
};
use crate::{
    description::Cidr,
    error::{At, Result},
    keyed::Keyed,
    poll::{self, Poll},
};

/// Keys of the poll; what comes and goes is numbered from [`FIRST`] on.
const DATAGRAMS: u64 = 0;
const CONNECTIONS: u64 = 1;
const FIRST: u64 = 2;
/// Queries on their way at once, connections at once.
const MOST_FORWARDS: usize = 128;
const MOST_CONNECTIONS: usize = 32;
/// Datagrams that are read before others have their turn.
const TURN: usize = 32;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);
/// How long nobody connects when there are too few descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How often every upstream is asked.
const ROUNDS: usize = 2;

/// What a server answers from. Upstreams are reached from the network namespace of whoever makes the server.
#[derive(Debug)]
pub struct Settings {
    /// The directories of the container's networks, in the order in which their names count.
    pub records: Vec<PathBuf>,
    /// Who is asked for names that are not in them; nobody: there are no others.
    pub upstreams: Vec<SocketAddr>,
    /// How long each of them has.
    pub patience: Duration,
    /// Which names may be asked for; none: all.
    pub filter: Option<Filter>,
}

/// Where a server listens.
#[derive(Debug)]
pub struct Sockets {
    datagrams: UdpSocket,
    listener: TcpListener,
    _redirect: Option<Redirect>,
}

impl Sockets {
    /// Opens them in the calling thread's network namespace.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let open = || {
            let datagrams = UdpSocket::bind(address)?;
            datagrams.set_nonblocking(true)?;
            let listener = TcpListener::bind(datagrams.local_addr()?)?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(Self { datagrams, listener, _redirect: None })
        };
        open().at(|| format!("cannot listen for names at {address}"))
    }

    /// The same at some other port, to which port 53 is led.
    pub fn aside(address: Ipv4Addr) -> Result<Self> {
        let sockets = Self::open((address, 0).into())?;
        let found = sockets.address().at(|| "cannot listen for names")?;
        Ok(Self { _redirect: Some(Redirect::new(address, found.port())?), ..sockets })
    }

    /// Where that is.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.datagrams.local_addr()
    }
}

/// A name server.
#[derive(Debug)]
pub struct Server {
    poll: Poll,
    sockets: Sockets,
    records: Vec<Records>,
    upstreams: Vec<SocketAddr>,
    patience: Duration,
    filter: Option<Filter>,
    forwards: Keyed<Forward>,
    connections: Keyed<(Connection, Instant)>,
    next: u64,
    /// When connections are let in again.
    pause: Option<Instant>,
    /// Whose turn it is among those that share a name.
    turn: usize,
}

impl Server {
    /// Begins to answer.
    pub fn new(sockets: Sockets, settings: Settings) -> Result<Self> {
        let begin = || {
            let poll = Poll::new()?;
            poll.add(&sockets.datagrams, DATAGRAMS, poll::READ)?;
            poll.add(&sockets.listener, CONNECTIONS, poll::READ)?;
            Ok::<_, io::Error>(poll)
        };
        let poll = begin().at(|| "cannot begin to answer for names")?;
        Ok(Self {
            poll,
            sockets,
            records: settings.records.into_iter().map(Records::new).collect(),
            upstreams: settings.upstreams,
            patience: settings.patience,
            filter: settings.filter,
            forwards: Keyed::new(),
            connections: Keyed::new(),
            next: FIRST,
            pause: None,
            turn: 0,
        })
    }

    /// Other networks from now on: the container was connected to one, or taken from it. `near`: as of the filter.
    pub fn set_networks(&mut self, records: Vec<PathBuf>, upstreams: Vec<SocketAddr>, near: Vec<Cidr>) {
        self.records = records.into_iter().map(Records::new).collect();
        self.upstreams = upstreams;
        if let Some(filter) = &mut self.filter {
            filter.set_near(near);
        }
    }

    /// Does what there is to do; to be called when the descriptor is readable. It never waits.
    pub fn on_ready(&mut self) {
        for key in self.poll.ready() {
            match key {
                DATAGRAMS => self.on_datagrams(),
                CONNECTIONS => self.on_listener(),
                poll::CLOCK => {}
                key if self.forwards.get_mut(key).is_some() => self.on_answer(key),
                key => self.on_connection(key),
            }
        }
        self.give_up_on_the_late(Instant::now());
        let late = self.forwards.values().map(|forward| forward.until);
        let idle = self.connections.values().map(|(_, until)| *until);
        let next = late.chain(idle).chain(self.pause).min();
        self.poll.ring(next);
    }

    fn on_datagrams(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..TURN {
            let Ok((count, from)) = self.sockets.datagrams.recv_from(&mut buffer) else { return };
            self.on_query(Asker::Datagram(from), &buffer[..count]);
        }
    }

    fn on_listener(&mut self) {
        let stream = match self.sockets.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // We would be told of it again and again, until somebody closes something.
            Err(_) => {
                self.pause = Some(Instant::now() + PAUSE);
                return drop(self.poll.set(&self.sockets.listener, CONNECTIONS, 0));
            }
        };
        if self.connections.len() >= MOST_CONNECTIONS || stream.set_nonblocking(true).is_err() {
            return;
        }
        let key = self.number();
        if self.poll.add(&stream, key, poll::READ).is_ok() {
            self.connections.insert(key, (Connection::new(stream), Instant::now() + IDLE));
        }
    }

    fn on_connection(&mut self, key: u64) {
        let Some((connection, until)) = self.connections.get_mut(key) else { return };
        let heard = connection.flush().and_then(|()| connection.receive());
        let Ok(queries) = heard else { return drop(self.connections.remove(key)) };
        if !queries.is_empty() {
            *until = Instant::now() + IDLE;
        }
        for query in queries {
            self.on_query(Asker::Connection(key), &query);
        }
        self.pace(key);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn on_query(&mut self, asker: Asker, query: &[u8]) {
        let question = match message::question(query) {
            Ok(question) => question,
            Err(outcome) => {
                let complaint = outcome.and_then(|outcome| message::complaint(query, outcome));
                return complaint.map_or((), |reply| self.answer(asker, &reply));
            }
        };
        if let Some((outcome, answers)) = self.own(&question) {
            return self.conclude(asker, query, &question, outcome, &answers);
        }
        if self.filter.as_ref().is_some_and(|filter| !filter.allows(&question.name)) {
            return self.conclude(asker, query, &question, Outcome::Refused, &[]);
        }
        if self.upstreams.is_empty() {
            return self.conclude(asker, query, &question, Outcome::NoSuchName, &[]);
        }
        if self.forwards.len() >= MOST_FORWARDS {
            return self.conclude(asker, query, &question, Outcome::Failed, &[]);
        }
        let forward = Forward::new(asker, query.to_vec(), question, Instant::now() + self.patience);
        let key = self.number();
        self.try_next(key, forward);
    }

    /// What the records say; none where they do not know the name.
    fn own(&mut self, question: &Question) -> Option<(Outcome, Vec<Answer>)> {
        self.records.iter_mut().for_each(Records::refresh);
        if question.kind == kind::PTR {
            let address = question.name.reversed()?;
            let name = self.records.iter().find_map(|records| records.name(address))?;
            return Some((Outcome::Good, vec![Answer::Name(name.clone())]));
        }
        let mut known: Vec<IpAddr> = Vec::new();
        for address in self.records.iter().flat_map(|records| records.addresses(&question.name)) {
            if !known.contains(&address) {
                known.push(address);
            }
        }
        if known.is_empty() {
            return None;
        }
        if let Some(filter) = self.filter.as_mut().filter(|filter| filter.allows(&question.name))
            && filter.pin_own(&known).is_err()
        {
            return Some((Outcome::Failed, Vec::new()));
        }
        known.retain(|address| match question.kind {
            kind::A => address.is_ipv4(),
            kind::AAAA => address.is_ipv6(),
            kind => kind == kind::ANY,
        });
        if !known.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            let first = self.turn % known.len();
            known.rotate_left(first);
        }
        Some((Outcome::Good, known.into_iter().map(Answer::Address).collect()))
    }

    fn conclude(
        &mut self,
        asker: Asker,
        query: &[u8],
        question: &Question,
        outcome: Outcome,
        answers: &[Answer],
    ) {
        let limit = match asker {
            Asker::Datagram(_) => question.size,
            Asker::Connection(_) => usize::from(u16::MAX),
        };
        self.answer(asker, &message::reply(query, question, outcome, answers, limit));
    }

    fn answer(&mut self, asker: Asker, reply: &[u8]) {
        match asker {
            // Whoever does not read his datagrams has lost them.
            Asker::Datagram(to) => drop(self.sockets.datagrams.send_to(reply, to)),
            Asker::Connection(key) => {
                let Some((connection, _)) = self.connections.get_mut(key) else { return };
                if connection.say(reply).is_err() {
                    self.connections.remove(key);
                } else {
                    self.pace(key);
                }
            }
        }
    }

    fn pace(&mut self, key: u64) {
        let Some((connection, _)) = self.connections.get_mut(key) else { return };
        let interest = if connection.is_behind() { poll::READ | poll::WRITE } else { poll::READ };
        let _ = self.poll.set(&connection.stream, key, interest);
    }

    /// Asks the next upstream, or says that nobody answers.
    fn try_next(&mut self, key: u64, mut forward: Forward) {
        while forward.tries < ROUNDS * self.upstreams.len() {
            let upstream = self.upstreams[forward.tries % self.upstreams.len()];
            forward.tries += 1;
            forward.until = Instant::now() + self.patience;
            if forward.send(upstream).is_err() {
                continue;
            }
            let interest = if forward.is_behind() { poll::READ | poll::WRITE } else { poll::READ };
            if forward.fd().is_some_and(|fd| self.poll.add(&fd, key, interest).is_ok()) {
                self.forwards.insert(key, forward);
                return;
            }
        }
        self.conclude(forward.asker, &forward.query, &forward.question, Outcome::Failed, &[]);
    }

    fn on_answer(&mut self, key: u64) {
        let Some(forward) = self.forwards.get_mut(key) else { return };
        let heard = forward.receive();
        if let (false, Some(fd)) = (forward.is_behind(), forward.fd()) {
            let _ = self.poll.set(&fd, key, poll::READ);
        }
        let Ok(replies) = heard else { return self.try_another(key) };
        let reply =
            replies.into_iter().find(|reply| message::answers(reply, &forward.sent, &forward.question));
        let Some(mut reply) = reply else { return };
        if message::is_unhelpful(&reply) && forward.tries < self.upstreams.len() {
            return self.try_another(key);
        }
        let Some(forward) = self.forwards.remove(key) else { return };
        if let Some(filter) = &mut self.filter
            && filter.pin_foreign(message::addresses(&reply, &forward.question)).is_err()
        {
            // An address that cannot be reached is no answer.
            return self.conclude(forward.asker, &forward.query, &forward.question, Outcome::Failed, &[]);
        }
        reply[..2].copy_from_slice(&forward.query[..2]);
        self.answer(forward.asker, &reply);
    }

    fn try_another(&mut self, key: u64) {
        if let Some(forward) = self.forwards.remove(key) {
            self.try_next(key, forward);
        }
    }

    fn give_up_on_the_late(&mut self, now: Instant) {
        if self.pause.take_if(|until| *until <= now).is_some() {
            let _ = self.poll.set(&self.sockets.listener, CONNECTIONS, poll::READ);
        }
        let late = self.forwards.iter().filter(|(_, forward)| forward.until <= now);
        for key in late.map(|(key, _)| key).collect::<Vec<_>>() {
            self.try_another(key);
        }
        self.connections.retain(|(_, until)| *until > now);
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}
