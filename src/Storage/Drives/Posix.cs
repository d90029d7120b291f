using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace ObjectStore.Storage.Drives;

/// <summary>The system calls .NET has no equivalent for. Numbers are those of Linux.</summary>
internal static unsafe partial class Posix
{
    public const int OpenReadOnly = 0;
    public const int OpenWriteOnly = 1;
    public const int OpenReadWrite = 2;
    public const int OpenCreate = 0x40;
    public const int OpenExclusive = 0x80;
    public const int OpenCloseOnExec = 0x80000;
    public const int ReadNoWait = 8; // RWF_NOWAIT
    public const int SeekData = 3;
    public const int AdviseNormal = 0;
    public const int AdviseRandom = 1;
    public const int AdviseDontNeed = 4;
    public const int ErrorNotPermitted = 1;
    public const int ErrorNoEntry = 2;
    public const int ErrorInterrupted = 4;
    public const int ErrorIo = 5;
    public const int ErrorNoDeviceAddress = 6;
    public const int ErrorAgain = 11;
    public const int ErrorAccess = 13;
    public const int ErrorNoDevice = 19;
    public const int ErrorInvalid = 22;
    public const int ErrorNoSpace = 28;
    public const int ErrorReadOnly = 30;
    public const int ErrorNoSystemCall = 38;
    public const int ErrorBadMessage = 74;
    public const int ErrorNotSupported = 95;
    public const int ErrorNotConnected = 107;
    public const int ErrorShutdown = 108;

    /// <summary>Whether an error says that the drive as a whole is not there, and nothing of what was asked for.</summary>
    public static bool IsOfWholeDevice(IOException error) => error.HResult is ErrorNoDeviceAddress or ErrorNoDevice or ErrorStale or ErrorNotConnected or ErrorShutdown;

    /// <summary>Whether an error of opening a file says that this one is damaged, and nothing of the others: EIO, EUCLEAN, EBADMSG.</summary>
    public static bool IsOfFile(IOException error) => error.HResult is ErrorIo or ErrorUnclean or ErrorBadMessage;

    public const int ErrorStale = 116;
    public const int ErrorUnclean = 117;
    public const int ErrorQuota = 122;

    public static int OpenDirect => RuntimeInformation.ProcessArchitecture is Architecture.Arm64 or Architecture.Arm ? 0x10000 : 0x4000;

    [StructLayout(LayoutKind.Sequential)]
    public struct IoVector
    {
        public void* Address;
        public nuint LengthBytes;
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenNative(string path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "pwritev", SetLastError = true)]
    public static partial nint WriteVector(SafeFileHandle file, IoVector* vectors, int count, long offset);

    [LibraryImport("libc", EntryPoint = "preadv2", SetLastError = true)]
    public static partial nint ReadVector(SafeFileHandle file, IoVector* vectors, int count, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    public static partial int SyncData(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    public static partial int Sync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    public static partial int Allocate(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    public static partial int Truncate(SafeFileHandle file, long length);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    public static partial long Seek(SafeFileHandle file, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "posix_fadvise")]
    public static partial int Advise(SafeFileHandle file, long offset, long length, int advice);

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial nint CacheStatNative(nint number, SafeFileHandle file, ulong* range, ulong* stat, uint flags);

    /// <summary>Whether all pages of the range are in the page cache. Reads nothing and starts no readahead, as a read with <see cref="ReadNoWait"/> does. False where the kernel (before 6.5) or its policy has no such call.</summary>
    public static bool IsCached(SafeFileHandle file, long offset, int lengthBytes)
    {
        const nint cacheStat = 451; // the same on every architecture
        const int pageBytes = 4096;
        ulong* range = stackalloc ulong[2] { (ulong)offset, (ulong)lengthBytes };
        ulong* stat = stackalloc ulong[5]; // in pages: cached, dirty, under writeback, evicted, recently evicted
        long pages = ((offset + lengthBytes + pageBytes - 1) / pageBytes) - (offset / pageBytes);
        return Environment.SystemPageSize == pageBytes && CacheStatNative(cacheStat, file, range, stat, 0) == 0 && stat[0] == (ulong)pages;
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatNative(int folder, string path, int flags, uint mask, byte* stat);

    /// <summary>Which file the path shows, without opening it: closing any descriptor of a file drops all locks (fcntl) that the process has on it. Null where there is none; zeros where the kernel or its policy has no such call.</summary>
    /// <exception cref="IOException">The path cannot be looked at.</exception>
    public static (ulong Device, ulong Inode)? TryIdentify(string path)
    {
        const int currentFolder = -100; // AT_FDCWD
        const uint inode = 0x100; // STATX_INO
        byte* stat = stackalloc byte[256];
        if (StatNative(currentFolder, path, 0, inode, stat) == 0)
            return (*(ulong*)(stat + 136), *(ulong*)(stat + 32)); // major and minor of the device; the same on every architecture
        int error = Marshal.GetLastPInvokeError();
        if (error == ErrorNoEntry)
            return null;
        return error is ErrorNoSystemCall or ErrorNotPermitted ? (0UL, 0UL) : throw Error("statx", path, error);
    }

    /// <summary>Null with the error where the call fails.</summary>
    public static SafeFileHandle? TryOpen(string path, int flags, out int error)
    {
        int descriptor = OpenNative(path, flags | OpenCloseOnExec, 0x1A4);
        error = descriptor < 0 ? Marshal.GetLastPInvokeError() : 0;
        return descriptor < 0 ? null : new SafeFileHandle(descriptor, ownsHandle: true);
    }

    public static SafeFileHandle Open(string path, int flags)
        => TryOpen(path, flags, out int error) ?? throw Error("open", path, error);

    public static IOException LastError(string call, string path) => Error(call, path, Marshal.GetLastPInvokeError());

    public static IOException Error(string call, string path, int error)
    {
        string message = $"{call} of '{path}' failed: {Marshal.GetPInvokeErrorMessage(error)} (errno {error}).";
        return error is ErrorNoSpace or ErrorQuota ? new NoSpaceException(message) : new IOException(message, error);
    }

    /// <summary>Makes names created in, renamed into or removed from the folder durable.</summary>
    public static void SyncFolder(string path)
    {
        using SafeFileHandle folder = Open(path, OpenReadOnly);
        if (Sync(folder) != 0)
            throw LastError("fsync", path);
    }

    /// <summary>As <see cref="SyncFolder"/>; false where the folder may not be opened, or its file system has no sync of folders.</summary>
    /// <exception cref="IOException">Whatever else, an error of the drive above all: the names may not be durable.</exception>
    public static bool TrySyncFolder(string path)
    {
        using SafeFileHandle? folder = TryOpen(path, OpenReadOnly, out int error);
        if (folder is null)
            return IsClosedToUs(error) ? false : throw Error("open", path, error);
        if (Sync(folder) == 0)
            return true;
        error = Marshal.GetLastPInvokeError();
        return HasNoFolderSync(error) ? false : throw Error("fsync", path, error);
    }

    /// <summary>What open says of a folder that is not this process's.</summary>
    internal static bool IsClosedToUs(int error) => error is ErrorAccess or ErrorNotPermitted;

    /// <summary>What fsync says of a folder whose file system has no such thing (squashfs, procfs and some of FUSE), or is read-only: then nothing has been made in it either.</summary>
    internal static bool HasNoFolderSync(int error) => error is ErrorInvalid or ErrorReadOnly or ErrorNoSystemCall or ErrorNotSupported;
}
