using System.Text.Json;
using System.Text.Json.Serialization;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Placement;

namespace ObjectStore.Silo.Configuration;

/// <summary>
/// The folder a node lives in: its format, its lock, and the places of metadata and credentials. Held for the life of the process.
/// </summary>
internal sealed class DataFolder : IDisposable
{
    private const int FormatVersion = 1;
    private const string FormatName = "objectstore.json";
    private readonly FileStream _lock;

    private DataFolder(string path, Guid clusterId, FileStream held)
    {
        Root = path;
        ClusterId = clusterId;
        _lock = held;
    }

    public string Root { get; }

    /// <summary>The cluster this node's drives belong to.</summary>
    public Guid ClusterId { get; }

    public string MetadataFolder => Path.Combine(Root, "metadata");

    public string GrainStateFile => Path.Combine(Root, "metadata", "grains.db");

    /// <summary>Whether drives have been in use from here before: a node with all roles has a map then, be it a damaged one, and a storage node its id.</summary>
    public bool HasHadDrives => Directory.EnumerateFiles(Root, ClusterMapFile.Name + "*").Any() || File.Exists(NodeIdFile);

    private string NodeIdFile => Path.Combine(Root, "node.id");

    public string AdminTokenFile => Path.Combine(Root, "admin.token");

    public string CredentialsFile => Path.Combine(Root, "credentials.json");

    /// <summary>Opens the folder, making it on the first start.</summary>
    /// <param name="clusterId">The cluster it has to be of; null takes the folder's own.</param>
    /// <param name="newClusterId">The cluster that a new folder is of unless <paramref name="clusterId"/> says; null makes one up.</param>
    /// <exception cref="StartException">It cannot be written, is held by a running process, is damaged, of a newer format or of another cluster.</exception>
    public static DataFolder Open(string path, Guid? clusterId = null, Guid? newClusterId = null)
    {
        try
        {
            Directory.CreateDirectory(path);
            Directory.CreateDirectory(Path.Combine(path, "metadata"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartException($"the data folder '{path}' cannot be written: {e.Message}", e);
        }

        FileStream held = Hold(path);
        try
        {
            Guid found = ReadOrWriteFormat(path, clusterId ?? newClusterId ?? Guid.NewGuid());
            return clusterId is null || clusterId == found
                ? new DataFolder(path, found, held)
                : throw new StartException($"the data folder '{path}' belongs to cluster {found}; --cluster-id says {clusterId}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            held.Dispose();
            throw new StartException($"the data folder '{path}' cannot be used: {e.Message}", e);
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    /// <summary>This node's own id, made when it is asked for the first time, which is once its drives are open.</summary>
    /// <exception cref="StartException">The file is damaged, or cannot be read or written.</exception>
    public Guid LoadNodeId()
    {
        try
        {
            if (File.Exists(NodeIdFile))
            {
                return Guid.TryParse(File.ReadAllText(NodeIdFile).Trim(), out Guid known) && known != Guid.Empty
                    ? known
                    : throw new StartException($"'{NodeIdFile}' holds no GUID; restore it, or delete it once every drive is mounted, and the next start makes one");
            }

            Guid made = Guid.NewGuid();
            DurableFile.Write(NodeIdFile, System.Text.Encoding.ASCII.GetBytes($"{made:D}\n"));
            return made;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartException($"'{NodeIdFile}' cannot be used: {e.Message}", e);
        }
    }

    public void Dispose() => _lock.Dispose();

    private static FileStream Hold(string path)
    {
        try
        {
            return new FileStream(Path.Combine(path, "lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new StartException($"the data folder '{path}' cannot be written: {e.Message}", e);
        }
        catch (IOException e)
        {
            throw new StartException(
                e is DirectoryNotFoundException || e.Message.Contains("Read-only", StringComparison.OrdinalIgnoreCase) || e.Message.Contains("space", StringComparison.OrdinalIgnoreCase)
                    ? $"the data folder '{path}' cannot be written: {e.Message}"
                    : $"the data folder '{path}' is in use by another process", e);
        }
    }

    private static Guid ReadOrWriteFormat(string path, Guid newClusterId)
    {
        string file = Path.Combine(path, FormatName);
        if (!File.Exists(file))
        {
            if (Directory.EnumerateFiles(Path.Combine(path, "metadata"), "*.db").Any())
            {
                throw new StartException($"the data folder '{path}' holds metadata but no {FormatName}; restore that file, or name an empty folder with --data");
            }

            Format created = new() { Product = "ObjectStore", Version = FormatVersion, ClusterId = newClusterId };
            DurableFile.Write(file, JsonSerializer.SerializeToUtf8Bytes(created, SiloJson.Default.Format));
            return created.ClusterId;
        }

        Format? format;
        try
        {
            format = JsonSerializer.Deserialize(File.ReadAllBytes(file), SiloJson.Default.Format);
        }
        catch (JsonException e)
        {
            throw new StartException($"'{file}' is damaged: {e.Message}", e);
        }

        if (format?.Product != "ObjectStore" || format.Version < 1 || format.ClusterId == Guid.Empty) throw new StartException($"'{file}' is damaged or of another product");
        return format.Version <= FormatVersion
            ? format.ClusterId
            : throw new StartException($"the data folder '{path}' has format {format.Version}; this program reads up to {FormatVersion}. Use a newer one");
    }

    internal sealed class Format
    {
        [JsonPropertyName("product")]
        public string Product { get; set; } = "";

        [JsonPropertyName("version")]
        public int Version { get; set; }

        [JsonPropertyName("clusterId")]
        public Guid ClusterId { get; set; }
    }
}

[JsonSerializable(typeof(DataFolder.Format))]
[JsonSerializable(typeof(Credentials.Stored))]
[JsonSourceGenerationOptions(WriteIndented = true)]
internal sealed partial class SiloJson : JsonSerializerContext;

/// <summary>Writes a small file so that after a crash it is there whole or not at all.</summary>
internal static class DurableFile
{
    public static void Write(string path, ReadOnlySpan<byte> content, UnixFileMode? mode = null)
    {
        string temporary = path + ".new";
        File.Delete(temporary);
        FileStreamOptions options = new() { Mode = FileMode.CreateNew, Access = FileAccess.Write, Share = FileShare.None };
        if (mode is { } wanted && !OperatingSystem.IsWindows()) options.UnixCreateMode = wanted;
        using (FileStream stream = new(temporary, options))
        {
            stream.Write(content);
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, path, overwrite: true);
        DirectorySync.Sync(Path.GetDirectoryName(path)!);
    }
}
