//! A checkpoint of the container, made by CRIU while the loop goes on; and a container that begins with one.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use kapsel_sandbox::Rootfs;

use super::Monitor;
use super::epoll::{self, Token, Watched};
use super::process::{CONTAINER, Ours, Pipes, Process};
use super::requests::{busy, not_running, refusal};
use super::start::join;
use super::wire::{self, Reply, line};
use crate::criu::{Dump, Dumping, Event, Restore, Terms, core};
use crate::error::{Error, Result};
use crate::launch::Launch;

/// One that is being made.
pub struct Checkpoint {
    client: u32,
    dumping: Dumping,
    /// Readable when CRIU says something.
    _heard: Watched,
}

impl Monitor {
    /// Begins a checkpoint. The client is answered when it is made.
    pub fn checkpoint(&mut self, client: u32, mut asked: wire::Checkpoint) -> Result<()> {
        let running = self.processes.get(&CONTAINER).filter(|_| self.started_at.is_some());
        let pid = running.map(|process| process.pid).ok_or_else(not_running)?;
        if self.checkpoint.is_some() {
            return Err(busy());
        }
        if self.paused {
            let message = "the container is paused: resume it before making a checkpoint of it";
            return Err(Error::new("CONTAINER_PAUSED", message));
        }
        // What is in it is ours, and is made anew at the restore.
        if let Some(network) = &self.network {
            join(&mut asked.config, network.path());
        }
        let dumping = Dump {
            terms: &asked.terms,
            pid,
            config: &asked.config,
            streams: &self.streams,
            cgroup: self.cgroup.as_ref(),
            bound: true,
            leave_running: asked.leave_running,
            pre_dump: false,
            parent: None,
            page_server: None,
            tcp_skip_in_flight: false,
            link_remap: true,
            status: None,
        }
        .begin()?;
        let failed = |error| Error::io("cannot wait for CRIU", &error);
        let socket = dumping.as_fd().try_clone_to_owned().map_err(failed)?;
        let mut heard = self.epoll.watch(socket, Token::Checkpoint);
        heard.set(epoll::READ).map_err(failed)?;
        self.checkpoint = Some(Checkpoint { client, dumping, _heard: heard });
        Ok(())
    }

    /// CRIU has said something.
    pub fn on_checkpoint(&mut self) {
        let Some(checkpoint) = &mut self.checkpoint else { return };
        let reply = match checkpoint.dumping.step() {
            Ok(false) => return,
            Ok(true) => line(&Reply::Ok),
            Err(error) => refusal(&error.code, &error.message),
        };
        let client = checkpoint.client;
        self.checkpoint = None;
        self.say(client, &reply);
    }

    /// Waits for a checkpoint under way: its client is to be answered before anything that follows from it.
    pub fn finish_checkpoint(&mut self) {
        while self.checkpoint.is_some() {
            self.on_checkpoint();
        }
    }

    /// Brings the container back as it was.
    pub fn restore(
        &mut self,
        launch: &Launch,
        terms: &Terms,
        rootfs: &Rootfs,
        pipes: Option<Pipes>,
    ) -> Result<()> {
        let stdio = pipes.as_ref().map(Pipes::share).transpose()?;
        // An archive's process would outlive us.
        core::set_parent_death_signal(&terms.images, libc::SIGKILL)
            .map_err(|error| Error::io("cannot change the checkpoint", &error))?;
        let mut console = None;
        let restore = Restore {
            terms,
            config: &launch.config,
            rootfs,
            directory: &launch.run_directory,
            cgroup: self.cgroup.as_ref(),
            stdio,
            lsm_profile: None,
            lsm_mount_context: None,
        };
        let pid = restore.run(&mut |event| {
            if let Event::Terminal(master) = event {
                console = Some(master);
            }
            Ok(())
        })?;
        let ours = match console {
            Some(console) => Ours::of_console(console),
            None => Ok(pipes.map_or_else(Ours::default, Pipes::keep_ours)),
        };
        let adopt = || Process::running(pid, pidfd_open(pid)?, ours?, CONTAINER, None, &self.epoll);
        let process = adopt().map_err(|error| Error::io("cannot watch the restored process", &error))?;
        self.processes.insert(CONTAINER, process);
        self.executed(CONTAINER);
        Ok(())
    }
}

/// Our own child, which nobody has reaped: the number cannot mean another process.
fn pidfd_open(pid: i32) -> std::io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
