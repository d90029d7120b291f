using ObjectStore.Storage.Drives;

namespace ObjectStore.Storage.Placement;

/// <summary>
/// The map that a node knows, in a file: a node can start by it while the pool's map is out of reach, and the pool can get its map back from its nodes. After a crash the file has the old
/// map or the new one. One writer at a time.
/// </summary>
public static class ClusterMapFile
{
    public const string Name = "cluster.map";

    /// <summary>The map in <paramref name="folder"/>; null where there is none.</summary>
    /// <exception cref="ClusterMapFormatException">It is damaged or of a newer format.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static ClusterMap? Load(string folder)
    {
        string path = Path.Combine(folder, Name);
        return File.Exists(path) ? ClusterMapFormat.Decode(File.ReadAllBytes(path)) : null;
    }

    /// <summary>Makes a map the one in <paramref name="folder"/>, durably: it is synced under another name, renamed, and the folder is synced.</summary>
    /// <exception cref="IOException">It cannot be written. The map that was there is still there, or the new one is.</exception>
    public static void Save(string folder, ReadOnlySpan<byte> encoded)
    {
        string path = Path.Combine(folder, Name), temporary = path + ".new";
        using (FileStream stream = new(temporary, FileMode.Create, FileAccess.Write, FileShare.None))
        {
            stream.Write(encoded);
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, path, overwrite: true);
        DirectorySync.Sync(folder);
    }
}
