using System.Globalization;
using System.Text;
using System.Text.Json;
using ObjectStore.Storage.Integrity;

namespace ObjectStore.Storage.Drives;

/// <summary>Which drive of which cluster a folder is: `drive.json`, written once. See docs/formats/drive.md.</summary>
internal sealed record DriveIdentity(Guid ClusterId, Guid DriveId)
{
    public const int FormatVersion = 1;
    private const string Magic = "ObjectStoreDrive";

    public byte[] Encode()
        => Encoding.UTF8.GetBytes(FormattableString.Invariant(
            $"{{\n  \"magic\": \"{Magic}\",\n  \"formatVersion\": {FormatVersion},\n  \"clusterId\": \"{ClusterId:D}\",\n  \"driveId\": \"{DriveId:D}\",\n  \"checksum\": \"{Checksum(FormatVersion):x16}\"\n}}\n"));

    /// <exception cref="DriveIdentityException">Damaged, or of a newer format.</exception>
    public static DriveIdentity Decode(ReadOnlyMemory<byte> content, string path)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(content);
            JsonElement root = document.RootElement;
            if (root.GetProperty("magic").GetString() != Magic)
                throw new DriveIdentityException(path, "drive.json is not a drive's identity.");
            int version = root.GetProperty("formatVersion").GetInt32();
            if (version > FormatVersion)
                throw new DriveIdentityException(path, $"its format is version {version}; this build knows up to {FormatVersion}.");
            var identity = new DriveIdentity(root.GetProperty("clusterId").GetGuid(), root.GetProperty("driveId").GetGuid());
            ulong checksum = ulong.Parse(root.GetProperty("checksum").GetString() ?? "", NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
            if (checksum != identity.Checksum(version))
                throw new DriveIdentityException(path, "the checksum of drive.json does not match.");
            return identity;
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or FormatException or InvalidOperationException or OverflowException)
        {
            throw new DriveIdentityException(path, "drive.json is damaged.");
        }
    }

    /// <summary>As <see cref="Decode"/>; null where that throws.</summary>
    public static DriveIdentity? TryDecode(ReadOnlyMemory<byte> content, string path)
    {
        try
        {
            return Decode(content, path);
        }
        catch (DriveIdentityException)
        {
            return null;
        }
    }

    private ulong Checksum(int version)
        => Crc64Nvme.Compute(Encoding.UTF8.GetBytes(FormattableString.Invariant($"{Magic}/{version}/{ClusterId:D}/{DriveId:D}")));
}
