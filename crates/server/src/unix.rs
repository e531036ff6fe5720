//! Unix sockets that listen.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a listening socket; dropping this removes it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode: what has been put in its place is not ours to remove.
    file: (u64, u64),
    /// A fork of this process does not listen.
    process: u32,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.process == std::process::id()
            && identity(&self.path).is_ok_and(|found| found == self.file)
        {
            // If it fails the next start takes the file for a stale one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, with the permission bits `mode`.
///
/// The socket is made under a name of its own and moved into place with its permissions:
/// nobody can connect in between, and a stale file of a broker that was killed is replaced.
///
/// # Errors
/// Somebody listens there (`AddrInUse`), something that is no socket is there
/// (`AlreadyExists`), or the system refuses.
pub(crate) fn listen(
    path: &Path,
    mode: u32,
    backlog: i32,
) -> io::Result<(UnixListener, SocketFile)> {
    refuse_taken(path)?;
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id() % 100_000));
    let new = PathBuf::from(new);
    remove_stale(&new)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(&new)?)?;
    let put = || {
        fs::set_permissions(&new, Permissions::from_mode(mode))?;
        socket.listen(backlog)?;
        fs::rename(&new, path)?;
        identity(path)
    };
    let file = put().inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })?;
    let path = path.to_owned();
    let file = SocketFile {
        path,
        file,
        process: std::process::id(),
    };
    Ok((socket.into(), file))
}

fn refuse_taken(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let why = "there is a file that is no socket";
            return Err(io::Error::new(ErrorKind::AlreadyExists, why));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("noctule-{}-{name}", std::process::id()))
    }

    #[test]
    fn the_file_has_its_mode_and_goes_with_the_listener() {
        let path = place("mode");
        let (_listener, file) = listen(&path, 0o620, 8).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o620);
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_refused() {
        let path = place("stale");
        let (listener, file) = listen(&path, 0o600, 8).unwrap();
        assert_eq!(
            listen(&path, 0o600, 8).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
        drop(listener);
        let (_listener, _second) = listen(&path, 0o600, 8).unwrap();
        drop(file);
        assert!(path.exists(), "the first must not remove the second's file");
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let path = place("text");
        fs::write(&path, "precious").unwrap();
        assert_eq!(
            listen(&path, 0o600, 8).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
    }
}
