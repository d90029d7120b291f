using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>The database's folder: one process at a time, and its names are on the disk before anything is acknowledged from it.</summary>
internal static class StoreFolder
{
    internal const string LockFileName = "metadata.lock";

    // Of Linux: errno.
    private const int NotPermitted = 1;
    private const int NoAccess = 13;
    private const int Invalid = 22;
    private const int ReadOnly = 30;
    private const int NoSystemCall = 38;
    private const int NotSupported = 95;

    /// <summary>Makes the folder if need be, and syncs those above it, also where it is there: whoever made it may not have come to that.</summary>
    /// <exception cref="MetadataStoreException">A folder above cannot be synced because its drive fails, or for another reason than <see cref="IsNotOurs"/> knows.</exception>
    internal static void Create(string directory)
    {
        Directory.CreateDirectory(directory);
        for (string? above = Path.GetDirectoryName(directory); !string.IsNullOrEmpty(above); above = Path.GetDirectoryName(above))
        {
            // Which of the folders above are new is not known; a sync of an old one costs nothing. What may not be opened, or cannot be synced at all, was there before.
            if (TrySync(above, out int error))
            {
                continue;
            }

            if (IsNotOurs(error))
            {
                break;
            }

            throw Unsynced(above, error);
        }
    }

    /// <summary>Takes the folder. The lock ends with the process, however it ends.</summary>
    internal static FileStream Lock(string directory)
    {
        string path = Path.Combine(directory, LockFileName);
        FileStream held;
        try
        {
            held = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);
        }
        catch (IOException fault) when (fault is not (FileNotFoundException or DirectoryNotFoundException))
        {
            throw new MetadataStoreInUseException($"The metadata folder {directory} is in use by another process: stop that one, or name another folder.", fault);
        }

        // For whoever looks into the file to see who holds it; nothing reads it.
        held.SetLength(0);
        held.Write(Encoding.ASCII.GetBytes(Environment.ProcessId.ToString(CultureInfo.InvariantCulture)));
        return held;
    }

    /// <summary>Makes the names in a folder durable. On Windows they are, by the file system's journal.</summary>
    internal static void Sync(string directory)
    {
        if (!TrySync(directory, out int error))
        {
            throw Unsynced(directory, error);
        }
    }

    /// <summary>
    /// Whether a folder that could not be synced is one in which this process has made nothing: it may not open it, or the file system is read-only or has no sync of folders. A failing drive is
    /// none of these.
    /// </summary>
    internal static bool IsNotOurs(int error) => error is NotPermitted or NoAccess or Invalid or ReadOnly or NoSystemCall or NotSupported;

    private static MetadataStoreException Unsynced(string directory, int error) => new($"The folder {directory} could not be synced (errno {error}).");

    private static bool TrySync(string directory, out int error)
    {
        error = 0;
        if (OperatingSystem.IsWindows())
        {
            return true;
        }

        int handle = Open(Encoding.UTF8.GetBytes(directory + '\0'), 0);
        if (handle < 0)
        {
            error = Marshal.GetLastPInvokeError();
            return false;
        }

        bool synced = FSync(handle) == 0;
        error = synced ? 0 : Marshal.GetLastPInvokeError();
        _ = Close(handle);
        return synced;
    }

    [DllImport("libc", EntryPoint = "open", SetLastError = true)]
    private static extern int Open(byte[] path, int flags);

    [DllImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static extern int FSync(int handle);

    [DllImport("libc", EntryPoint = "close")]
    private static extern int Close(int handle);
}
