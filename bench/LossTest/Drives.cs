using System.Text.Json;

namespace ObjectStore.LossTest;

/// <summary>How a drive is lost.</summary>
public enum LossKind
{
    /// <summary>Every file is cut to nothing and the identity is gone, as if the medium had been wiped under the running server.</summary>
    Emptied,

    /// <summary>The whole folder is removed, as if the drive had been pulled.</summary>
    Removed,

    /// <summary>Bytes are changed in every 16 KiB of every volume; the identity and the index stay.</summary>
    Damaged,
}

/// <summary>The folders that play the drives.</summary>
public sealed class DriveFolders(string root, int count, int hosts)
{
    private const int DamageStepBytes = 16 << 10;

    public int Count => count;

    public string PathOf(int drive) => Path.Combine(root, $"{drive + 1}");

    /// <summary>For --drives.</summary>
    public string Argument => Path.Combine(root, $"{{1...{count}}}");

    /// <summary>Drives that are lost together with this one.</summary>
    public IEnumerable<int> HostOf(int drive) => hosts == 0 ? [drive] : Enumerable.Range(drive * hosts / count * (count / hosts), count / hosts);

    /// <summary>The topology file, in which each drive has a host.</summary>
    public string WriteTopology(string file)
    {
        var drives = Enumerable.Range(0, count).ToDictionary(PathOf, drive => new { host = hosts == 0 ? $"host-{drive}" : $"host-{drive * hosts / count}" });
        File.WriteAllText(file, JsonSerializer.Serialize(new { drives }));
        return file;
    }

    public void Lose(int drive, LossKind kind, Random random)
    {
        string folder = PathOf(drive);
        string[] volumes = Directory.GetFiles(Path.Combine(folder, "volumes"), "*.vol");
        switch (kind)
        {
            case LossKind.Damaged:
                byte[] bytes = new byte[16];
                foreach (string volume in volumes)
                {
                    using FileStream? file = OpenIfThere(volume);
                    for (long at = random.Next(DamageStepBytes); at + bytes.Length < file?.Length; at += DamageStepBytes)
                    {
                        random.NextBytes(bytes);
                        file.Position = at;
                        file.Write(bytes);
                    }
                }

                break;
            case LossKind.Emptied:
                File.Delete(Path.Combine(folder, "drive.json"));
                foreach (string volume in volumes)
                {
                    using FileStream? file = OpenIfThere(volume);
                    file?.SetLength(0);
                }

                break;
            default:
                Directory.Delete(folder, recursive: true);
                break;
        }
    }

    /// <summary>Null for a volume that the server, which goes on meanwhile, has just reclaimed.</summary>
    private static FileStream? OpenIfThere(string volume)
    {
        try
        {
            return new FileStream(volume, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    /// <summary>A new, empty drive in the place of a lost one; for a server that is not running.</summary>
    public void Replace(int drive)
    {
        if (Directory.Exists(PathOf(drive))) Directory.Delete(PathOf(drive), recursive: true);
        Directory.CreateDirectory(PathOf(drive));
    }
}
