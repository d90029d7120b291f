namespace ObjectStore.Storage.Drives;

/// <summary>Makes a rename or a new file durable: the entry lives in the folder, and the folder has its own sync.</summary>
public static class DirectorySync
{
    /// <summary>Syncs a folder. Does nothing on Windows, where folders have no sync.</summary>
    /// <exception cref="IOException">The folder cannot be opened or synced.</exception>
    public static void Sync(string path)
    {
        if (!OperatingSystem.IsWindows()) Posix.SyncFolder(path);
    }
}
